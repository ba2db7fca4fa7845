// %% [markdown]
// # Part 1: why traditional caching fails
//
// A language model reads a prompt before it answers. This is called *prefill*. For every token of
// the prompt it computes two vectors in every layer, a key and a value: the *KV*. It takes long,
// and it is what a user waits for before the first word.
//
// This part shows, with a real model, what is computed twice, why an ordinary cache does not help,
// and what does. It is a program: `dotnet run -c Release docs/notebook/part1.cs` runs it. Figures
// with the sign ≈ are different each time; all others are the same in every run.
// %%
#:project ../../samples/Notebook/KvCache.Notebook.csproj

using System.Diagnostics;
using KvCache;
using KvCache.Notebook;
using TorchSharp;

using var loaded = Harbor.Load();
var (model, tokenizer) = loaded;
Console.WriteLine($"{model.Config.Layers} layers, {model.Config.KvHeads} KV heads of {model.Config.HeadDim} numbers; "
    + $"the KV of a token has {model.CreateLayout(1).BlockBytes} bytes");

// %% [markdown]
// The model is `harbor`. It is tiny, and a token is a byte of ASCII, so that everything here takes
// milliseconds. With a model of eight billion parameters it is the same picture with seconds.
//
// ## What prefill costs
// The longer the prompt, the longer the prefill. It grows a little faster than the prompt, as each
// token looks at all tokens before it.
// %%
var text = tokenizer.Encode(Harbor.Prompt(Harbor.Questions[0]));
int[] lengths = [80, 160, 320, 640];
var times = lengths.Select(length => Clock.Median(5, () => Prefill(text[..length]))).ToArray();
for (var i = 0; i < lengths.Length; i++)
    Console.WriteLine($"{lengths[i],4} tokens: {Clock.About(times[i])}");
Picture.Lines(
    "part1-prefill", "What a prefill costs", "tokens of the prompt", "milliseconds",
    [.. lengths.Select(length => (double)length)], ("prefill", [.. times.Select(time => time.TotalMilliseconds)]));

void Prefill(int[] tokens)
{
    using var session = model.CreateSession();
    using var logits = session.Forward(tokens);
}

// %% [markdown]
// ## A cache of answers
// The first idea is a cache of answers: a dictionary from the prompt to its answer. Here are eight
// requests of an application. All have the same instruction and the same list, and each has a
// question of its own. One user asks twice.
// %%
string[] requests = [.. Harbor.Questions.Take(7).Append(Harbor.Questions[0]).Select(Harbor.Prompt)];
var answers = new Dictionary<string, string>();
var hits = 0;
foreach (var request in requests)
{
    if (answers.ContainsKey(request))
        hits++;
    else
        answers[request] = "(what the model says)";
}

Console.WriteLine($"{requests.Length} requests, {hits} hit");

// %% [markdown]
// One of eight. A single letter that differs is another key. An answer is also not always the one
// that the model would give now: with sampling, two answers to one prompt may differ.
//
// ## What the requests share
// Prompts are hardly ever the same as a whole. They *begin* alike.
// %%
var tokens = requests.Select(request => tokenizer.Encode(request)).ToArray();
var shared = PrefixComparison.Of(tokens[0], tokens[1]);
Console.WriteLine($"the first two prompts have {tokens[0].Length} and {tokens[1].Length} tokens; the first {shared.Common} are the same");

// %% [markdown]
// And the KV of a token depends on the tokens before it, never on those behind. So the KV of this
// beginning must be the same in both. Is it? We let the model compute both prompts, each on its
// own, and compare the numbers.
// %%
using var first = model.CreateSession();
using var second = model.CreateSession();
first.Forward(tokens[0]).Dispose();
second.Forward(tokens[1]).Dispose();
using var kvOfFirst = first.ExportBlock(0, shared.Common);
using var kvOfSecond = second.ExportBlock(0, shared.Common);
Console.WriteLine($"numbers compared: {kvOfFirst.numel()}");
Console.WriteLine($"the same within a hundred thousandth: {kvOfFirst.allclose(kvOfSecond, rtol: 1e-4, atol: 1e-5)}");

// %% [markdown]
// ## Keys that are whole prompts do not find it
// So we should keep KV, not answers. But under which key? A cache finds what has *exactly* the key
// that is asked for. With the prompt as the key we are where we were: one hit of eight.
//
// The answer is to cut prompts into *blocks* of a few tokens, and to name each block by a hash over
// **all** tokens from the beginning of the prompt to the end of the block. Equal names then mean
// equal beginnings. The longest beginning that is cached is found by asking for one name after the
// other.
// %%
const int TokensPerBlock = 16;
var one = PrefixHasher.HashTokens(tokens[0], TokensPerBlock);
var two = PrefixHasher.HashTokens(tokens[1], TokensPerBlock);
var equal = Enumerable.Range(0, one.BlockCount).TakeWhile(i => one.Hashes[i] == two.Hashes[i]).Count();
Console.WriteLine($"the prompts have {one.BlockCount} blocks, and the first {equal} have the same names");
Console.WriteLine($"block {equal - 1}: {one.Hashes[equal - 1].ToShortString()} and {two.Hashes[equal - 1].ToShortString()}");
Console.WriteLine($"block {equal}: {one.Hashes[equal].ToShortString()} and {two.Hashes[equal].ToShortString()}");

// %% [markdown]
// ## A cache of blocks
// Now it is a dictionary again, from the name of a block to its KV. A request takes the blocks that
// are there and computes the rest.
// %%
var blocks = new Dictionary<BlockHash, torch.Tensor>();
var cold = TimeSpan.Zero;
var warm = TimeSpan.Zero;
var (computed, asked, same) = (0, 0, true);
foreach (var prompt in tokens)
{
    // Without a cache, to compare with.
    using var reference = model.CreateSession();
    var began = Stopwatch.GetTimestamp();
    using var expected = reference.Forward(prompt);
    cold += Stopwatch.GetElapsedTime(began);

    // With it. The last token is always computed: from it comes the first word of the answer.
    using var session = model.CreateSession();
    var chain = PrefixHasher.HashTokens(prompt, TokensPerBlock);
    began = Stopwatch.GetTimestamp();
    for (var i = 0; i < (prompt.Length - 1) / TokensPerBlock && blocks.TryGetValue(chain.Hashes[i], out var block); i++)
        session.ImportBlock(block);
    var found = session.Length;
    using var logits = session.Forward(prompt[found..]);
    warm += Stopwatch.GetElapsedTime(began);

    for (var i = found / TokensPerBlock; i < chain.BlockCount; i++)
        blocks.TryAdd(chain.Hashes[i], session.ExportBlock(i * TokensPerBlock, TokensPerBlock));
    (asked, computed) = (asked + prompt.Length, computed + prompt.Length - found);
    same &= logits.argmax().item<long>() == expected.argmax().item<long>();
}

Console.WriteLine($"{asked} tokens were asked for, {computed} were computed: "
    + $"{100.0 * (asked - computed) / asked:F0} % came from the cache");
Console.WriteLine($"the first token of every answer is the same: {same}");
Console.WriteLine($"time to the first token, all requests: without {Clock.About(cold)}, with {Clock.About(warm)}");
Picture.Bars(
    "part1-computed", "Tokens that are computed for eight requests", "tokens",
    ("no cache", asked), ("cache of answers", asked - tokens[0].Length), ("cache of blocks", computed));

// %% [markdown]
// ## What is still missing
// A dictionary is not enough:
//
// - **Memory.** The blocks of one list are a megabyte here. The KV of a prompt of 8,000 tokens of a
//   large model is a gigabyte. Something must be forgotten, and ends before beginnings.
// - **Other nodes.** What this process knows, no other one does.
// - **Names.** Another model has other KV for the same tokens. The names above do not say which
//   model.
// - **Faults.** A cache that is slow or broken must never be why an answer fails or is wrong.
//
// [Part 2](part2.md) gives the blocks to a silo, and looks at the three layers of memory.
// %%
foreach (var block in blocks.Values)
    block.Dispose();
