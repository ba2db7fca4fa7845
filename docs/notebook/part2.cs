// %% [markdown]
// # Part 2: the three layers
//
// [Part 1](part1.md) kept blocks of KV in a dictionary of one process. Here they go where other
// processes find them. There are three layers of memory, each larger and slower than the one
// before:
//
// 1. **The engine's own.** Blocks that lie where the model computes. Nothing is faster, and nobody
//    else sees them.
// 2. **Memory of the hosts.** A *silo* is a process beside the engine. It holds blocks for all
//    engines in one large piece of memory, its *arena*. Silos that know of one another are one
//    cache.
// 3. **What all share, and what survives**: Redis.
//
// `dotnet run -c Release docs/notebook/part2.cs` runs this part.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using System.Diagnostics;
using KvCache;
using KvCache.Client;
using KvCache.Notebook;
using KvCache.TorchSharp;

using var loaded = Harbor.Load();
var (model, tokenizer) = loaded;
await using var silo = await NotebookSilo.FindOrStartAsync();
Console.WriteLine("a silo runs");

// %% [markdown]
// ## Names
// Names of blocks say which tokens they are made of. They do not say by which model. So every name
// lives in a *namespace*: tenant, model, revision, shape of the KV and more. The revision of our
// model is a hash over its weights.
// %%
var options = new GenerationOptions { TokensPerBlock = 16, MaxTokens = 24, Salt = "notebook, part 2" };
var ns = CachedGeneration.NamespaceOf(model, options);
Console.WriteLine($"model {ns.Model}, {ns.Layout.TokensPerBlock} tokens and {ns.Layout.BlockBytes} bytes a block, tenant {ns.Tenant}");

// %% [markdown]
// ## Two nodes and a silo
// `KvCacheClient` is an engine's way to silos. Here are two of them, as two inference nodes would
// have. Both run in this process, and share nothing but the silo.
//
// `GenerateWithCacheAsync` does all of part 1: it asks for the blocks of the prompt, loads those
// that are there, computes the rest, writes the answer, and stores what it has computed.
// %%
await using var nodeA = silo.Connect();
await using var nodeB = silo.Connect();
await nodeA.ClearAsync(ns); // begin with nothing, also when this runs a second time

// What runs for the first time is compiled first. So everything runs once in another namespace before it is timed.
foreach (var node in new[] { nodeA, nodeB })
    await node.GenerateWithCacheAsync(model, tokenizer, Harbor.Beginning, options: options with { Salt = "warm up" }).ToResultAsync();

var alone = await GenerateAsync(new LocalKvCache(ByteSize.MiB(16)), Harbor.Prompt(Harbor.Questions[0])); // a cache that is empty
var stores = await GenerateAsync(nodeA, Harbor.Prompt(Harbor.Questions[0]));
var finds = await GenerateAsync(nodeB, Harbor.Prompt(Harbor.Questions[0]));
var another = await GenerateAsync(nodeB, Harbor.Prompt(Harbor.Questions[1]));
Print("without a silo", alone);
Print("node A, first", stores);
Print("node B, the same prompt", finds);
Print("node B, another question", another);
Console.WriteLine($"the same answer from all: {alone.Text == stores.Text && alone.Text == finds.Text}");

async Task<GenerationResult> GenerateAsync(IKvCache cache, string prompt) =>
    await cache.GenerateWithCacheAsync(model, tokenizer, prompt, options: options).ToResultAsync();

void Print(string what, GenerationResult result) => Console.WriteLine(
    $"{what,-26}{result.PromptTokens,5} tokens, {result.HitTokens,3} from the cache, {result.StoredBlocks,2} blocks stored, "
    + $"first token after {Clock.About(result.TimeToFirstToken)}");

// %% [markdown]
// Node B never saw this prompt, and computed 4 of its 676 tokens. For another question it computes
// from where the prompts differ.
//
// ## A layer in the process
// What a node needs again and again it may keep beside the engine, too: `TieredKvCache` puts a
// small cache of this process before the silo. It answers from the near one, and fills it with what
// comes from far.
// %%
await using var near = new LocalKvCache(ByteSize.MiB(16));
await using var tiered = new TieredKvCache(near, silo.Connect());
var fromFar = await GenerateAsync(tiered, Harbor.Prompt(Harbor.Questions[0]));
var fromNear = await GenerateAsync(tiered, Harbor.Prompt(Harbor.Questions[0]));
var statistics = await near.GetStatisticsAsync();
Console.WriteLine($"{fromFar.HitTokens} and {fromNear.HitTokens} tokens from the cache; "
    + $"the near one has loaded {statistics.Hits} blocks by itself");

// %% [markdown]
// ## How fast is each layer?
// One prompt of 676 tokens, 1.3 MiB of KV. *Computed* is the whole prefill. The others are the time
// until the KV of 672 tokens lies in the engine's memory.
// %%
var prompt = KvPrefix.Of(ns, tokenizer.Encode(Harbor.Prompt(Harbor.Questions[0])));
var prefill = Clock.Median(7, () =>
{
    using var session = model.CreateSession();
    session.Forward(tokenizer.Encode(Harbor.Prompt(Harbor.Questions[0]))).Dispose();
});
var buffers = Enumerable.Range(0, prompt.BlockCount).Select(_ => new byte[ns.Layout.BlockBytes]).ToArray();
Memory<byte>[] destinations = [.. buffers.Select(buffer => buffer.AsMemory())];
var fromSilo = LoadTime(nodeB);
var fromProcess = LoadTime(near);
Console.WriteLine($"computed:                {Clock.About(prefill)}");
Console.WriteLine($"from the silo:           {Clock.About(fromSilo)}");
Console.WriteLine($"from this process:       {Clock.About(fromProcess)}");
Console.WriteLine("from the engine itself:  nothing to do");
Picture.Bars(
    "part2-layers", "Until the KV of 672 tokens is there", "milliseconds",
    ("computed", prefill.TotalMilliseconds), ("silo", fromSilo.TotalMilliseconds), ("this process", fromProcess.TotalMilliseconds));

TimeSpan LoadTime(IKvCache cache) => Clock.Median(15, () =>
{
    var result = cache.LoadAsync(prompt, 0, destinations).AsTask().GetAwaiter().GetResult();
    if (result.Blocks != prompt.BlockCount)
        throw new InvalidOperationException($"Expected {prompt.BlockCount} blocks, got {result}.");
});

// %% [markdown]
// ## The layer that survives
// A silo holds blocks in memory. When it ends they are gone. What is stored as *persisted* goes to
// Redis too, behind the answer. Here a silo with a Redis behind it is killed, and a new one takes
// its place. (It wants a `redis-server` on this machine.)
// %%
using var redis = NotebookRedis.TryStart();
if (redis is not null)
{
    await using (var before = await NotebookSilo.StartAsync(redis: redis))
    {
        await using var writer = before.Connect();
        var stored = await writer.StoreAsync(
            prompt, 0, [.. buffers.Select(buffer => (ReadOnlyMemory<byte>)buffer)], new StoreOptions(Durability: Durability.Persisted));
        await before.WaitUntilPersistedAsync(stored.Stored);
        Console.WriteLine($"{stored.Stored} blocks stored and persisted; now the silo is killed");
        await before.KillAsync();
    }

    await using var after = await NotebookSilo.StartAsync(redis: redis);
    await using var reader = after.Connect();
    await Wait.UntilAsync("the new silo has found them", async () => (await reader.MatchAsync(prompt)).Blocks == prompt.BlockCount);
    var expected = buffers.Select(buffer => buffer.ToArray()).ToArray();
    foreach (var buffer in buffers)
        Array.Clear(buffer);
    var back = await reader.LoadAsync(prompt, 0, destinations);
    var equal = buffers.Zip(expected).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second));
    Console.WriteLine($"a new silo gives {back.Blocks} blocks back, byte for byte the same: {equal}");
}

// %% [markdown]
// ## Which layer for what
// | layer | holds | when it is gone |
// |---|---|---|
// | the engine | the conversations of this minute | ask the silo |
// | silos | what many prompts begin with, for hours | ask Redis, else compute |
// | Redis | what is worth more than its memory: long system prompts, large documents | compute |
//
// Whatever fails, the answer is the same, only later. [Part 3](part3.md) looks at what a block is
// made of.
