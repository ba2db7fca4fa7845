// %% [markdown]
// # Part 3: what a block is made of
//
// Parts [1](part1.md) and [2](part2.md) moved blocks about. Here we open one: its numbers, its
// name, and what happens when either is wrong.
//
// `dotnet run -c Release docs/notebook/part3.cs` runs this part.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using System.Runtime.InteropServices;
using KvCache;
using KvCache.Notebook;
using KvCache.TorchSharp;
using TorchSharp;

using var loaded = Harbor.Load();
var (model, tokenizer) = loaded;
await using var silo = await NotebookSilo.FindOrStartAsync();
await using var cache = silo.Connect();

var options = new GenerationOptions { TokensPerBlock = 16, MaxTokens = 40, Salt = "notebook, part 3" };
var ns = CachedGeneration.NamespaceOf(model, options);
var layout = ns.Layout;
await cache.ClearAsync(ns);
int[] tokens = tokenizer.Encode(Harbor.Prompt(Harbor.Questions[0]));
Console.WriteLine($"{tokens.Length} tokens");

// %% [markdown]
// ## A tensor of five dimensions
// A *session* is one conversation with the model: it has the KV of all tokens so far. A block is a
// piece of that. It has all layers; in each layer keys, then values; for each the tokens of the
// block; and for each token a vector for every *KV head*.
// %%
using var session = model.CreateSession();
using var logits = session.Forward(tokens);
using var block = session.ExportBlock(0, layout.TokensPerBlock);
Console.WriteLine($"[layers, keys and values, tokens, heads, numbers] = [{string.Join(", ", block.shape)}], {block.dtype}");
Console.WriteLine($"bytes of a token: {layout.Layers} layers × 2 × {layout.KvHeads} heads × {layout.HeadDim} numbers × 4 = "
    + $"{layout.BlockBytes / layout.TokensPerBlock}");
Console.WriteLine($"bytes of a block: {layout.BlockBytes}; of its first layer: {layout.LayerBytes(0)}, "
    + $"from {layout.LayerOffset(0)} on; the next begins at {layout.LayerOffset(1)}");

// %% [markdown]
// Layers come first, so that a run of layers is one piece of memory. An engine can begin with the
// first layer while the last one is still on its way.
//
// What is in there? Here is the length of the key vectors in every layer, for the first 160 tokens.
// The layers are clearly different; noise would look the same in all.
// %%
const int Seen = 160;
using (var keys = session.ExportBlock(0, Seen).select(1, 0))
using (var norms = keys.norm(3, false, 2f).mean([2L]))
{
    Picture.Lines(
        "part3-keys", "Length of the key vectors", "token", "mean of the heads",
        [.. Enumerable.Range(0, Seen).Select(i => (double)i)],
        [
            .. Enumerable.Range(0, layout.Layers)
                .Select(layer => ($"layer {layer}", norms[layer].data<float>().Select(x => (double)x).ToArray())),
        ]);
}

// %% [markdown]
// ## A chain of names
// The name of a block is a SHA-256 hash over the name of the block before it and its own tokens. So
// it stands for the whole beginning. Change one token, and all names from there on are others.
// %%
var chain = PrefixHasher.HashTokens(tokens, layout.TokensPerBlock);
int[] changed = [.. tokens];
changed[100]++;
var other = PrefixHasher.HashTokens(changed, layout.TokensPerBlock);
for (var i = 4; i < 9; i++)
    Console.WriteLine($"block {i}: {chain.Hashes[i].ToShortString()}   {other.Hashes[i].ToShortString()}   "
        + $"{(chain.Hashes[i] == other.Hashes[i] ? "same" : "other")}");

// %% [markdown]
// Token 100 is in block 6 (blocks of 16 tokens, counted from 0). The name is the same wherever it
// is computed: in another process, in Python, next year. [hashing.md](../hashing.md) has the bytes.
//
// ## A namespace for all that the tokens do not say
// Equal tokens have other KV in another model. So a key is *namespace + name*, and the namespace is
// a hash over everything that the KV depends on. Each line changes one thing:
// %%
CacheNamespace[] spaces =
[
    ns, ns with { Revision = "fine-tuned" }, ns with { LoraAdapter = "legal" }, ns with { Tenant = "acme" },
    ns with { Layout = model.CreateLayout(32) }, ns with { TensorParallelSize = 2 }, ns with { Salt = "another" },
];
string[] what = ["ours", "other weights", "an adapter", "another tenant", "blocks of 32 tokens", "one of two ranks", "another salt"];
foreach (var (space, name) in spaces.Zip(what))
    Console.WriteLine($"{name,-22}{(space.Id == ns.Id ? "the same namespace" : "another namespace")}");

// %% [markdown]
// ## The same numbers with and without the cache
// Now the promise that everything rests on. We store the blocks, load them in a new session, and
// compare with the session that computed everything: the scores (*logits*) of the next token.
// %%
var prefix = new KvPrefix(ns, chain);
var parts = Enumerable.Range(0, chain.BlockCount)
    .Select(i => session.ExportBlock(i * layout.TokensPerBlock, layout.TokensPerBlock)).ToList();
var stored = await cache.StoreAsync(prefix, 0, parts);
Console.WriteLine($"{stored.Stored} blocks stored");

using var resumed = model.CreateSession();
await using (var match = await cache.MatchAsync(prefix, hold: TimeSpan.FromSeconds(5)))
using (var tensors = await cache.LoadTensorsAsync(prefix, 0, match.Blocks, match: match))
{
    foreach (var tensor in tensors.Blocks)
        resumed.ImportBlock(tensor);
    Console.WriteLine($"{match.Blocks} blocks found, {tensors.Blocks.Count} loaded, {resumed.Length} tokens");
    var same = tensors.Blocks.Zip(parts).All(pair => pair.First.equal(pair.Second).all().item<bool>());
    Console.WriteLine($"bytes as they were stored: {same}");
}

using var resumedLogits = resumed.Forward(tokens.AsSpan(resumed.Length));
using var difference = (logits - resumedLogits).abs().max();
Console.WriteLine($"largest difference of {logits.numel()} scores: {Clock.About(difference.item<float>(), "0.0000000")}; "
    + $"below a thousandth: {difference.item<float>() < 1e-3}");
Console.WriteLine($"the most likely next token is the same: {logits.argmax().item<long>() == resumedLogits.argmax().item<long>()}");

// %% [markdown]
// The bytes are the same, exactly. The scores may differ in their last digits: the rest of the
// prompt was computed alone and not together with the beginning, and floating-point sums depend on
// their order. Tokens are the same.
//
// ## A control
// Would we notice if the cache were not used at all? We load again and overwrite what was loaded
// with zeros. The answer must change.
// %%
var right = await AnswerAsync(null);
var wrong = await AnswerAsync(loadedBlock => loadedBlock.zero_().Dispose());
Console.WriteLine($"with what was stored: {right.Split('\n')[0]}");
Console.WriteLine($"zeros change the answer: {right != wrong}");

async Task<string> AnswerAsync(Action<torch.Tensor>? onLoaded)
{
    var result = await cache
        .GenerateWithCacheAsync(model, tokenizer, Harbor.Prompt(Harbor.Questions[0]), options: options with { OnLoaded = onLoaded })
        .ToResultAsync();
    return result.Text;
}

// %% [markdown]
// (Lantern carries silk by the list. The model is tiny, and mixes rows up. It does so with a cache
// and without.)
//
// ## Layer by layer
// The last trick: compute the first layer while the others are on their way. `LoadLayerTensors`
// gives each layer as it arrives.
// %%
using var layered = model.CreateSession();
await using (var layers = cache.LoadLayerTensors(prefix, 0, chain.BlockCount))
{
    var order = new List<int>();
    var whole = chain.BlockCount * layout.TokensPerBlock;
    using var result = await layered.ForwardAsync(tokens.AsMemory(whole), whole, async (layer, destination) =>
    {
        order.Add(layer);
        return await layers.CopyToAsync(layer, destination);
    });
    Console.WriteLine($"layers asked for in the order {string.Join(", ", order)}; "
        + $"the same token: {result!.argmax().item<long>() == logits.argmax().item<long>()}");
}

// %% [markdown]
// ## Fewer bytes
// KV may be stored smaller than it is computed. `float16` halves it and loses the last digits; a
// codec for floating-point numbers loses nothing.
// %%
var raw = MemoryMarshal.AsBytes(block.data<float>().ToArray().AsSpan()).ToArray();
(string Name, TensorEncoding Encoding)[] encodings =
[
    ("as it is", new TensorEncoding()),
    ("gzip", new TensorEncoding(Compression: TensorCompression.GZip)),
    ("float planes", new TensorEncoding(Compression: TensorCompression.FloatPlanes)),
    ("float16", new TensorEncoding(ElementEncoding.Float16)),
    ("float16 + planes", new TensorEncoding(ElementEncoding.Float16, TensorCompression.FloatPlanes)),
];
var sizes = new List<(string, double)>();
foreach (var (name, encoding) in encodings)
{
    var encoded = new byte[BatchTensorSerializer.MaxEncodedBytes(layout, encoding)];
    var length = BatchTensorSerializer.Encode(raw, layout, encoded.AsSpan(), encoding);
    var decoded = new byte[raw.Length];
    BatchTensorSerializer.Decode(encoded.AsSpan(0, length), layout, layout.AllLayers, decoded);
    var error = MemoryMarshal.Cast<byte, float>(raw).ToArray()
        .Zip(MemoryMarshal.Cast<byte, float>(decoded).ToArray(), (a, b) => Math.Abs(a - b)).Max();
    sizes.Add((name, 100.0 * length / raw.Length));
    Console.WriteLine($"{name,-18}{Clock.About(100.0 * length / raw.Length, "0")} % of the bytes, "
        + $"{(error == 0 ? "exact" : $"largest error {Clock.About(error, "0.0000")}")}");
}

Picture.Bars("part3-sizes", "Bytes of a stored block", "% of float32", [.. sizes]);

// %% [markdown]
// The codec is made for 16-bit numbers: behind `float16` it gains, on `float32` it does not.
// [serialization.md](../serialization.md) says what each of them costs in time. [Part 4](part4.md)
// keeps blocks in a Redis.
// %%
parts.ForEach(part => part.Dispose());
