// %% [markdown]
// # Part 6: production
//
// A cache in production is watched, filled, emptied, upgraded, and now and then killed. This part
// shows the calls for that, and what a client sees when a silo dies.
//
// `dotnet run -c Release docs/notebook/part6.cs` runs this part.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using KvCache;
using KvCache.Client;
using KvCache.Notebook;

await using var silo = await NotebookSilo.FindOrStartAsync();
await using var cache = silo.Connect();
var ns = new CacheNamespace
{
    Tenant = "default", Model = "notebook, part 6",
    Layout = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 32, KvDataType.Float32, tokensPerBlock: 16),
};
await cache.ClearAsync(ns);
Console.WriteLine($"blocks of {ns.Layout.BlockBytes} bytes");

KvPrefix PromptOf(int number, int blocks = 10) => KvPrefix.Of(ns, [.. Enumerable.Range(number * 1000, blocks * 16)]);

IReadOnlyList<ReadOnlyMemory<byte>> ValuesOf(KvPrefix prompt) =>
    [.. Enumerable.Range(0, prompt.BlockCount)
        .Select(i => (ReadOnlyMemory<byte>)Enumerable.Repeat((byte)i, ns.Layout.BlockBytes).ToArray())];

IReadOnlyList<Memory<byte>> RoomFor(KvPrefix prompt) =>
    [.. Enumerable.Range(0, prompt.BlockCount).Select(_ => new Memory<byte>(new byte[ns.Layout.BlockBytes]))];

// %% [markdown]
// ## Lives
// Most blocks need no life: what is not asked for is forgotten when room is needed. Give one to
// what must not be kept longer, for example by contract.
// %%
var shortLived = PromptOf(1);
await cache.StoreAsync(shortLived, 0, ValuesOf(shortLived), new StoreOptions(TimeToLive: TimeSpan.FromMilliseconds(300)));
await Wait.UntilAsync("the blocks are gone", async () => (await cache.MatchAsync(shortLived)).Blocks == 0);
Console.WriteLine("stored for 300 ms: gone by itself");

var kept = PromptOf(2);
await cache.StoreAsync(kept, 0, ValuesOf(kept));
Console.WriteLine($"a life that is set later: {await cache.ExpireAsync(kept, TimeSpan.FromHours(1))} blocks");

// %% [markdown]
// ## Holds
// An engine asks now and loads later. In between the blocks could be forgotten. A match with a hold
// takes *leases*: for some seconds nobody may. Here the silo has room for 40 blocks, and 100 others
// come in between.
// %%
await using var small = await NotebookSilo.StartAsync(arena: $"{40 * ns.Layout.BlockBytes}");
await using var reader = small.Connect();
Console.WriteLine($"without a hold: {await AskThenLoadAsync(3, TimeSpan.Zero)} of 10 blocks loaded");
Console.WriteLine($"with a hold:    {await AskThenLoadAsync(4, TimeSpan.FromSeconds(30))} of 10 blocks loaded");

async Task<int> AskThenLoadAsync(int number, TimeSpan hold)
{
    var prompt = PromptOf(number);
    await reader.StoreAsync(prompt, 0, ValuesOf(prompt));
    await using var match = await reader.MatchAsync(prompt, hold);
    for (var i = 0; i < 10; i++) // others come, and are used
    {
        var other = PromptOf((number * 100) + i);
        await reader.StoreAsync(other, 0, ValuesOf(other));
        await reader.LoadAsync(other, 0, RoomFor(other));
    }

    return (await reader.LoadAsync(prompt, 0, RoomFor(prompt), match: match)).Blocks;
}

// %% [markdown]
// A *pin* is a hold for longer and for everybody: for the system prompt of a product, say. Pins
// have a bound, so that nobody can fill a silo with them.
// %%
Console.WriteLine($"pinned for an hour: {await cache.PinAsync(kept, TimeSpan.FromHours(1))} blocks");
Console.WriteLine($"no longer pinned:   {await cache.PinAsync(kept, TimeSpan.Zero)} blocks");

// %% [markdown]
// ## Statistics and health
// Every client counts what it did. A silo counts for all, at `/metrics` (Prometheus) and
// `/v1/stats`.
// %%
cache.ResetStatistics();
await cache.LoadAsync(kept, 0, RoomFor(kept));
await cache.LoadAsync(shortLived, 0, RoomFor(shortLived));
var statistics = await cache.GetStatisticsAsync();
var misses = statistics.Misses.Where(miss => miss.Value > 0).Select(miss => $"{miss.Key} {miss.Value}");
Console.WriteLine($"hits {statistics.Hits}, misses {string.Join(", ", misses)}, hit rate {statistics.HitRate:P0}");
Console.WriteLine($"load, half of the calls within {Clock.About(statistics.Load.P50)}");
Console.WriteLine($"is it there: {(await cache.GetHealthAsync()).IsAvailable}");
Console.WriteLine($"a silo's figures: {await small.ReadMetricAsync("kvcache_arena_used_bytes") > 0}");

// %% [markdown]
// Look at misses by reason. *Absent* is normal: it is not there. Any other reason has a name and an
// entry in [troubleshooting](../guides/troubleshooting.md).
//
// ## A silo dies
// Three silos, one cache. A prompt is stored through the second one with two copies; then that one
// is killed, as a kernel out of memory would do it.
// %%
await using var cluster = await NotebookCluster.StartAsync(3);
var important = PromptOf(5);
await using (var writer = NotebookSilo.Connect(cluster.Endpoints[1]))
{
    var result = await writer.StoreAsync(important, 0, ValuesOf(important), new StoreOptions(Replicas: 2));
    Console.WriteLine($"stored: {result.Stored} blocks, two copies each");
}

await cluster.WaitForCopiesAsync(1);

await using var survivor = NotebookSilo.Connect(cluster.Endpoints[1], cluster.Endpoints[2], cluster.Endpoints[0]);
Console.WriteLine($"before: {(await survivor.MatchAsync(important)).Blocks} blocks");
await cluster.KillAsync(1);
await Wait.UntilAsync(
    "the client has gone to another silo", async () => (await survivor.MatchAsync(important)).Blocks == important.BlockCount);
var room = RoomFor(important);
var back = await survivor.LoadAsync(important, 0, room);
var right = room.Zip(ValuesOf(important)).All(pair => pair.First.Span.SequenceEqual(pair.Second.Span));
Console.WriteLine($"after:  {back.Blocks} blocks from another silo, the right bytes: {right}");

// %% [markdown]
// The client was told three addresses and needed no word from anybody. Without a copy the blocks
// would have been misses: a prefill, and nothing else.
//
// ## No silo at all
// The last case is that nothing is there. No exception, no waiting: a miss with a reason, and a
// *breaker* that answers at once until somebody is back.
// %%
await using var lonely = new KvCacheClient(new KvCacheClientOptions { Endpoints = { "tcp:127.0.0.1:1" } });
var match = await lonely.MatchAsync(important);
var stored = await lonely.StoreAsync(important, 0, ValuesOf(important));
Console.WriteLine($"match: {match.Blocks} blocks, {match.Reason}; store: {stored.Stored} blocks, {stored.Reason}");
Console.WriteLine($"is it there: {(await lonely.GetHealthAsync()).IsAvailable}");

// %% [markdown]
// ## What to do next
// [Guide 4](../guides/04-production.md) has the way to production in three phases: sizes, targets,
// alerts, playbooks. [Operations](../operations.md) says what every failure does.
