// %% [markdown]
// # Part 4: Redis, from twenty lines to the real thing
//
// Many have a Redis already. It holds bytes under keys, all nodes reach it, and it forgets by
// itself when it is full. Why not put KV there? This part does, begins with the simplest thing that
// could work, and mends one fault after the other. At the end stands `RedisKvCache` of this
// repository, and what no client of Redis can mend.
//
// It wants a `redis-server` on this machine (on Debian: `apt-get install redis-server`); without
// one it says so and ends.
//
// `dotnet run -c Release docs/notebook/part4.cs` runs this part.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using System.Diagnostics;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using KvCache;
using KvCache.Notebook;
using KvCache.Redis;
using KvCache.TorchSharp;
using StackExchange.Redis;

using var server = NotebookRedis.TryStart();
if (server is null)
    return;
using var loaded = Harbor.Load();
var (model, tokenizer) = loaded;
using var connection = await ConnectionMultiplexer.ConnectAsync($"{server.Configuration},abortConnect=false");
var redis = connection.GetDatabase();
var options = new GenerationOptions { TokensPerBlock = 16, MaxTokens = 24, Salt = "notebook, part 4" };
var ns = CachedGeneration.NamespaceOf(model, options);
Console.WriteLine($"a Redis runs; blocks of {ns.Layout.TokensPerBlock} tokens have {ns.Layout.BlockBytes} bytes");

// %% [markdown]
// ## First: the prompt is the key
// Twenty lines. The KV of a whole prompt is one value.
// %%
int[] Tokens(int question) => tokenizer.Encode(Harbor.Prompt(Harbor.Questions[question]));

byte[] Compute(int[] tokens) // the KV of whole blocks of a prompt, one behind the other
{
    using var session = model.CreateSession();
    session.Forward(tokens).Dispose();
    var bytes = new List<byte>();
    for (var i = 0; i < tokens.Length / 16; i++)
    {
        using var block = session.ExportBlock(i * 16, 16);
        bytes.AddRange(MemoryMarshal.AsBytes(block.data<float>().ToArray().AsSpan()));
    }

    return [.. bytes];
}

var kv = Compute(Tokens(0));
await redis.StringSetAsync(Harbor.Prompt(Harbor.Questions[0]), kv);
Console.WriteLine($"the same prompt again:    {(await redis.StringGetAsync(Harbor.Prompt(Harbor.Questions[0]))).Length()} bytes");
Console.WriteLine($"another question:         {(await redis.StringGetAsync(Harbor.Prompt(Harbor.Questions[1]))).Length()} bytes");

// %% [markdown]
// It works, and it is [part 1](part1.md) again: another question finds nothing, although 646 of its
// 679 tokens are the same.
//
// ## Second: blocks, and a chain of names
// One value a block. A lookup asks for the names one after the other, until one is missing. All
// questions go out together, so that the network is waited for once.
// %%
var chain = PrefixHasher.HashTokens(Tokens(0), 16);
for (var i = 0; i < chain.BlockCount; i++)
    await redis.StringSetAsync(chain.Hashes[i].ToString(), kv.AsMemory(i * ns.Layout.BlockBytes, ns.Layout.BlockBytes));
var found = await CountAsync(PrefixHasher.HashTokens(Tokens(1), 16), "");
Console.WriteLine($"another question: {found} of {Tokens(1).Length / 16} blocks are there");

async Task<int> CountAsync(PrefixChain prompt, string before)
{
    var asked = Enumerable.Range(0, prompt.BlockCount).Select(i => redis.KeyExistsAsync(before + prompt.Hashes[i])).ToArray();
    return (await Task.WhenAll(asked)).TakeWhile(exists => exists).Count();
}

// %% [markdown]
// ## Third: whose KV is it?
// A colleague fine-tunes the model. Her model has the same tokens, so it has the same names of
// blocks:
// %%
Console.WriteLine($"her model finds {await CountAsync(chain, "")} blocks of ours, and would answer by the numbers of another model");
var hers = ns with { Revision = "fine-tuned" };
for (var i = 0; i < chain.BlockCount; i++)
    await redis.StringSetAsync($"{ns.Id}{chain.Hashes[i]}", kv.AsMemory(i * ns.Layout.BlockBytes, ns.Layout.BlockBytes));
Console.WriteLine($"with namespaces: ours {await CountAsync(chain, $"{ns.Id}")}, hers {await CountAsync(chain, $"{hers.Id}")}");

// %% [markdown]
// Nobody would have seen that fault. Wrong KV gives fluent text. So keys begin with the namespace.
//
// ## Fourth: are these the bytes that were stored?
// A value may be cut short, overwritten by somebody else, or written by an older version of the
// program. Numbers do not look wrong. So each value gets a checksum in front, and what does not fit
// is a miss.
// %%
var key = $"{ns.Id}{chain.Hashes[3]}";
await redis.StringSetAsync(key, WithChecksum(kv.AsSpan(3 * ns.Layout.BlockBytes, ns.Layout.BlockBytes)));
Console.WriteLine($"as it was stored:         {Describe(await redis.StringGetAsync(key))}");
await redis.StringSetRangeAsync(key, 1000, "oops");
Console.WriteLine($"four bytes overwritten:   {Describe(await redis.StringGetAsync(key))}");

byte[] WithChecksum(ReadOnlySpan<byte> block) => [.. Crc32.Hash(block), .. block];

string Describe(byte[]? value) =>
    value is { Length: > 4 } && Crc32.Hash(value.AsSpan(4)).AsSpan().SequenceEqual(value.AsSpan(0, 4)) ? "a hit" : "a miss";

// %% [markdown]
// ## Fifth: a life, and fewer bytes
// Without a life (TTL) values stay for ever, those of models that nobody runs any more too. And
// half the bytes are twice the cache: `float16` is enough for most models.
// %%
var encoding = new TensorEncoding(ElementEncoding.Float16, TensorCompression.FloatPlanes);
var room = new byte[BatchTensorSerializer.MaxEncodedBytes(ns.Layout, encoding)];
var length = BatchTensorSerializer.Encode(kv.AsSpan(0, ns.Layout.BlockBytes), ns.Layout, room.AsSpan(), encoding);
await redis.StringSetAsync($"{ns.Id}{chain.Hashes[0]}", WithChecksum(room.AsSpan(0, length)), TimeSpan.FromHours(1));
Console.WriteLine($"encoded: less than half of {ns.Layout.BlockBytes} bytes: {length < ns.Layout.BlockBytes / 2}");
Console.WriteLine($"it has a life: {await redis.KeyTimeToLiveAsync($"{ns.Id}{chain.Hashes[0]}") is not null}");

// %% [markdown]
// ## Sixth: Redis is down
// The most important fault. A cache is there to save time. When it fails, the model must answer as
// if there were none, at once. The client throws an exception in the middle of a prefill, and may
// take seconds for it.
// %%
using var gone = await ConnectionMultiplexer.ConnectAsync("127.0.0.1:1,abortConnect=false,connectTimeout=300,asyncTimeout=300");
try
{
    await gone.GetDatabase().StringGetAsync("anything");
}
catch (RedisException e)
{
    Console.WriteLine($"a plain client: {e.GetType().Name}");
}

await using var absent = new RedisKvCache(gone);
var prefix = new KvPrefix(ns, chain);
var asIfEmpty = await absent.MatchAsync(prefix);
Console.WriteLine($"RedisKvCache: {asIfEmpty.Blocks} blocks, and a reason: {asIfEmpty.Reason != MissReason.None}");

// %% [markdown]
// ## The real one
// `RedisKvCache` has all six: chains, namespaces, checksums, lives, encodings, and misses instead
// of exceptions, within a deadline. It is an `IKvCache`, as the cache of silos is. A program that
// uses it can change to silos in one line.
// %%
await using var cache = new RedisKvCache(connection, new RedisKvCacheOptions
{
    Encoding = encoding,
    MatchTimeout = TimeSpan.FromSeconds(5),
    LoadTimeout = TimeSpan.FromSeconds(5),
    StoreTimeout = TimeSpan.FromSeconds(5),
});
var cold = await AnswerAsync(0);
var again = await AnswerAsync(0);
var another = await AnswerAsync(1);
Console.WriteLine($"first:            {cold.HitTokens,3} of {cold.PromptTokens} tokens from Redis, {cold.StoredBlocks} blocks stored");
Console.WriteLine($"again:            {again.HitTokens,3} of {again.PromptTokens}, {again.StoredBlocks} stored; "
    + $"the same answer: {again.Text == cold.Text}");
Console.WriteLine($"another question: {another.HitTokens,3} of {another.PromptTokens}, {another.StoredBlocks} stored");
Console.WriteLine($"statistics: hit rate {(await cache.GetStatisticsAsync()).HitRate:P0}");

async Task<GenerationResult> AnswerAsync(int question) => await cache
    .GenerateWithCacheAsync(model, tokenizer, Harbor.Prompt(Harbor.Questions[question]), options: options).ToResultAsync();

// %% [markdown]
// ## What no client can mend
// A Redis that is full forgets single keys, by a sample of the least recently used. It does not
// know that blocks are chains. When the beginning of a prompt goes and its end stays, the end is
// worth nothing, and takes memory.
//
// Here both get memory for about 120 of 240 blocks: twelve prompts of 20 blocks, stored one after
// the other; then every prompt is asked for. *Blocks there* counts all that are left; *usable*
// those without a gap before them.
// %%
const int Prompts = 12, Blocks = 20;
var bytesOfBlock = ns.Layout.BlockBytes;
var prompts = Enumerable.Range(0, Prompts)
    .Select(p => KvPrefix.Of(ns with { Salt = "full" }, [.. Enumerable.Range(p * 1000, Blocks * 16)])).ToArray();
var values = Enumerable.Range(0, Blocks).Select(_ => (ReadOnlyMemory<byte>)new byte[bytesOfBlock]).ToArray();

using var full = NotebookRedis.TryStart("--maxmemory", $"{(120 * bytesOfBlock) + (1 << 20)}", "--maxmemory-policy", "allkeys-lru");
using var fullConnection = await ConnectionMultiplexer.ConnectAsync(full!.Configuration);
var (redisThere, redisUsable) = (0, 0);
foreach (var prompt in prompts)
    for (var i = 0; i < Blocks; i++)
        await fullConnection.GetDatabase().StringSetAsync(prompt.Chain.Hashes[i].ToString(), values[i]);
foreach (var prompt in prompts)
{
    var exists = new bool[Blocks];
    for (var i = 0; i < Blocks; i++)
        exists[i] = await fullConnection.GetDatabase().KeyExistsAsync(prompt.Chain.Hashes[i].ToString());
    redisThere += exists.Count(there => there);
    redisUsable += exists.TakeWhile(there => there).Count();
}

await using var silo = await NotebookSilo.StartAsync(arena: $"{120 * bytesOfBlock}");
await using var client = silo.Connect();
var siloUsable = 0;
foreach (var prompt in prompts)
    await client.StoreAsync(prompt, 0, values);
foreach (var prompt in prompts)
    siloUsable += (await client.MatchAsync(prompt)).Blocks;
var siloThere = (int)await silo.ReadMetricAsync("kvcache_store_blocks");
Console.WriteLine($"Redis: {Clock.About(redisThere)} blocks there, {Clock.About(redisUsable)} usable");
Console.WriteLine($"silo:  {Clock.About(siloThere)} blocks there, {Clock.About(siloUsable)} usable");
Console.WriteLine($"every block that the silo keeps is usable: {siloThere == siloUsable}");
Picture.Bars(
    "part4-full", "A full cache: blocks that are there, and blocks that are of use", "blocks",
    ("Redis: there", redisThere), ("Redis: usable", redisUsable), ("silo: there", siloThere), ("silo: usable", siloUsable));

// %% [markdown]
// A silo forgets ends before beginnings: what it has is of use. It also moves bytes with fewer
// copies, keeps tenants apart, and holds what a reader was promised.
// [Guide 3](../guides/03-alternatives.md) has the whole comparison. [Part 5](part5.md) measures
// under traffic.
