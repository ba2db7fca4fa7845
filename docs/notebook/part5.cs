// %% [markdown]
// # Part 5: measure
//
// Is it worth it? That depends on your traffic: on how much of it begins alike, how soon it comes
// again, and how much memory there is. This part compares ways to keep KV under the same requests,
// and shows how to do it with your own.
//
// `dotnet run -c Release docs/notebook/part5.cs` runs this part.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using KvCache;
using KvCache.Benchmarks;
using KvCache.Notebook;
using KvCache.Redis;

await using var silo = await NotebookSilo.FindOrStartAsync();
using var redis = NotebookRedis.TryStart("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru");
Console.WriteLine($"kinds of traffic: {string.Join(", ", Workload.Names)}");

// %% [markdown]
// ## What is measured, and what is modelled
// `KvCacheBenchmark` plays inference nodes. For each request a node asks its cache, loads what is
// there, *pretends* to compute the rest, and stores it. Asking, loading and storing are measured;
// the speed of computing is a number that you give. So it needs no GPU, and runs in seconds.
//
// The requests are made up, with a seed: the same in every run. `conversation` are people who chat;
// `agents` are programs that call tools and come back in seconds; `documents` are questions about a
// few hundred documents; `system` are short requests behind one of thirty system prompts.
// %%
foreach (var name in Workload.Names.Except([Workload.Mixed]))
{
    var requests = Workload.Make(name, requests: 300, seed: 1);
    var blocks = requests.SelectMany(request => request.HashIds).ToList();
    Console.WriteLine($"{name,-13} {requests.Average(request => request.InputLength),8:F0} tokens a prompt; "
        + $"{100.0 * (blocks.Count - blocks.Distinct().Count()) / blocks.Count,3:F0} % of the blocks came before");
}

// %% [markdown]
// The last column is the most that any cache can reach: one with memory for everything. It says
// more than any benchmark. If it is below a third for your traffic, stop here.
//
// ## Four nodes, five ways
// Four nodes share the requests in turn. *none* computes everything. *local* has a cache in each
// process, of a quarter of the memory. *silo* is one silo for all. *tiered* has a small cache in
// each process before the silo. *redis* is a Redis for all, with the same memory as the silo.
// %%
var benchmark = new KvCacheBenchmark(new BenchmarkOptions { Nodes = 4, BlockBytes = 64 << 10, Memory = ByteSize.MiB(64), Before = 200 });
benchmark.Options.Silos.Add(silo.Endpoint);
if (redis is not null)
{
    var patience = TimeSpan.FromSeconds(5); // as for the silo: a late answer is not to count as a miss here
    benchmark.Add("redis", _ => new RedisKvCache(new RedisKvCacheOptions
    {
        Configuration = redis.Configuration, MatchTimeout = patience, LoadTimeout = patience, StoreTimeout = patience,
    }));
}

var report = await benchmark.RunAllAsync(Workload.Make(Workload.Mixed, requests: 500, seed: 1));
Console.WriteLine($"{report.Requests} requests counted");
foreach (var row in report.Rows)
    Console.WriteLine($"{row.Strategy,-7} hit rate {Clock.About(row.HitRate, "0.00")}, "
        + $"first token after {Clock.About(row.FirstTokenP50)} (half of the requests), "
        + $"{Clock.About(row.FirstTokenP95)} (95 %), {Clock.About(row.CostPerMillionTokens, "0.000")} USD a million tokens");
Picture.Bars(
    "part5-hits", "Share of the blocks that were not computed", "hit rate", [.. report.Rows.Select(row => (row.Strategy, row.HitRate))]);
Picture.Bars(
    "part5-ttft", "Time to the first token, half of the requests", "milliseconds",
    [.. report.Rows.Select(row => (row.Strategy, row.FirstTokenP50.TotalMilliseconds))]);

// %% [markdown]
// What to look at first:
//
// - *local* is worse than a silo: a node has only what it computed itself, and four nodes keep the
//   same things four times.
// - *silo* and *redis* have the same memory, and it is full. What is forgotten makes a difference
//   ([part 4](part4.md)). And Redis counts the buffers of its clients as its memory, and rounds
//   values up: with as little as here that costs it much. With 188 MiB it is 0.61 beside 0.71
//   ([guide 3](../guides/03-alternatives.md#side-by-side-here)); with memory for everything both
//   hit the same.
// - *tiered* gains nothing here, as the silo is on the same machine. It does where the network is
//   slow.
// - The 95 % line is what users complain about. Long prompts are there, and that is where a cache
//   helps most.
//
// ## How much memory?
// More memory hits more, until everything that comes again is there. Take the point where the curve
// bends. `LocalKvCache` uses the same eviction as a silo, so that the curve needs no silo.
// %%
int[] sizes = [8, 16, 32, 64, 128];
var curve = new List<double>();
foreach (var size in sizes)
{
    var memory = new ByteSize((long)size << 18);
    var one = new KvCacheBenchmark(new BenchmarkOptions { Nodes = 1, BlockBytes = 16 << 10, Memory = memory, Before = 200 });
    curve.Add((await one.RunAllAsync(Workload.Make(Workload.Mixed, requests: 500, seed: 1))).Rows[1].HitRate);
    Console.WriteLine($"memory for {size * 16,4} blocks: hit rate {Clock.About(curve[^1], "0.00")}");
}

Console.WriteLine($"more memory hits more: {curve[^1] > curve[0]}");
Picture.Lines(
    "part5-memory", "Hits over memory", "blocks that fit", "hit rate", [.. sizes.Select(size => size * 16.0)], ("one node", [.. curve]));

// %% [markdown]
// ## With your own traffic
// `TraceRequest.Read` reads a trace: one line of JSON a request, with an id for every block of its
// prompt. A silo records one of what it is asked ([your own load](../eviction.md#your-own-load)).
// Then:
//
// - `bench -- sim --trace FILE` draws the curve above for several policies and sizes;
// - `bench -- strategies --trace FILE` compares as above, with real processes and more ways;
// - `bench -- roi` turns a hit rate into money ([guide 1](../guides/01-why.md#what-it-returns)).
//
// [Part 6](part6.md) looks at production.
