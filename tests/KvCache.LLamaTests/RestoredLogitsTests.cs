using KvCache.Client;
using KvCache.LLamaSharp;
using LLama.Native;

namespace KvCache.LLamaTests;

public sealed class RestoredLogitsTests : IAsyncDisposable
{
    private static readonly LLamaPrefixCacheOptions Blocks = new() { BlockTokens = 16, PieceSize = new ByteSize(100_000) };

    private readonly LocalKvCache _cache = new(ByteSize.MiB(64));

    public static TheoryData<bool, GGMLType, bool?> Forms => new()
    {
        { false, GGMLType.GGML_TYPE_F16, null },
        { false, GGMLType.GGML_TYPE_F16, false },
        { false, GGMLType.GGML_TYPE_F32, true },
        { false, GGMLType.GGML_TYPE_Q8_0, true },
        { true, GGMLType.GGML_TYPE_F16, true },
        { true, GGMLType.GGML_TYPE_F16, false },
    };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _cache.DisposeAsync();

    [Theory]
    [MemberData(nameof(Forms))]
    public async Task A_prompt_behind_restored_blocks_has_the_very_logits_of_one_that_was_computed(
        bool isWindowed, GGMLType type, bool? flash)
    {
        var parameters = DrivenContext.Of(isWindowed ? TestModels.Windowed : TestModels.Harbor, type, flash);
        using var cold = new DrivenContext(parameters);
        var prompt = cold.Tokenize(HarborModel.Prompt);
        var cut = (prompt.Length - 1) / 16 * 16;
        using (var prefixes = LLamaPrefixCache.Create(_cache, cold.Context, Blocks))
        {
            cold.Decode(prompt.AsSpan(0, cut), 0);
            var stored = await prefixes.StoreAsync(prompt.AsMemory(0, cut), 0, cancellationToken: Token);
            Assert.Equal(cut / 16, stored.Stored);
        }

        var expected = cold.Decode(prompt.AsSpan(cut), cut);
        var answer = cold.Continue(expected, prompt.Length, 40);

        using var warm = new DrivenContext(parameters);
        using var restoring = LLamaPrefixCache.Create(_cache, warm.Context, Blocks);
        var restored = await restoring.RestoreAsync(prompt, 1, cancellationToken: Token); // another sequence than it was stored from
        Assert.Equal((cut, cut / 16, MissReason.None), (restored.Tokens, restored.Blocks, restored.Reason));
        var logits = warm.Decode(prompt.AsSpan(cut), cut, 1);
        Assert.Equal(expected, logits);
        Assert.Equal(answer, warm.Continue(logits, prompt.Length, 40, 1));

        // The control: were the KV not used, this would change nothing.
        using var control = new DrivenContext(parameters);
        using var zeroed = LLamaPrefixCache.Create(new ChangedCache(_cache, Zero), control.Context, Blocks);
        Assert.Equal(cut, (await zeroed.RestoreAsync(prompt, 0, cancellationToken: Token)).Tokens);
        Assert.NotEqual(expected, control.Decode(prompt.AsSpan(cut), cut));

        void Zero(int block, Memory<byte> bytes) => restoring.Form.Zero(bytes.Span);
    }

    [Fact]
    public async Task A_prompt_that_is_stored_whole_is_computed_from_its_last_token_on()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        using var prefixes = LLamaPrefixCache.Create(_cache, context.Context, Blocks);
        var prompt = context.Tokenize(HarborModel.Prompt)[..64];
        context.Decode(prompt.AsSpan(0, 63), 0);
        var expected = context.Decode(prompt.AsSpan(63), 63);
        await prefixes.StoreAsync(prompt, 0, cancellationToken: Token);

        var restored = await prefixes.RestoreAsync(prompt, 1, cancellationToken: Token);

        Assert.Equal((63, 4), (restored.Tokens, restored.Blocks));
        Assert.Equal(expected, context.Decode(prompt.AsSpan(63), 63, 1));
    }

    [Fact]
    public async Task What_a_sequence_holds_already_is_not_loaded_again()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        using var prefixes = LLamaPrefixCache.Create(_cache, context.Context, Blocks);
        var prompt = context.Tokenize(HarborModel.Prompt);
        context.Decode(prompt.AsSpan(0, 336), 0);
        await prefixes.StoreAsync(prompt.AsMemory(0, 336), 0, cancellationToken: Token);
        var expected = context.Decode(prompt.AsSpan(336), 336);
        context.Decode(prompt.AsSpan(0, 100), 0, 1);

        var restored = await prefixes.RestoreAsync(prompt, 1, resident: 100, cancellationToken: Token);

        Assert.Equal((336, 21 - 6), (restored.Tokens, restored.Blocks)); // the sixth block was there in part only
        var logits = context.Decode(prompt.AsSpan(336), 336, 1);
        Assert.Equal(Array.IndexOf(expected, expected.Max()), Array.IndexOf(logits, logits.Max()));
    }

    [Theory]
    [InlineData("magic", 0)]
    [InlineData("sequence", 4)]
    [InlineData("streams", 8)]
    [InlineData("count of cells", 12)]
    [InlineData("first position", 16)]
    [InlineData("sequences of a cell", 20)]
    [InlineData("second position", 28)]
    [InlineData("whether V is transposed", 16 + (16 * 12))]
    [InlineData("layers", 20 + (16 * 12))]
    [InlineData("type of K", 24 + (16 * 12))]
    [InlineData("row of K", 28 + (16 * 12))]
    public async Task A_block_that_says_something_else_never_reaches_llama_cpp(string what, int at)
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        var prompt = context.Tokenize(HarborModel.Prompt)[..100];
        using (var prefixes = LLamaPrefixCache.Create(_cache, context.Context, Blocks))
        {
            context.Decode(prompt, 0);
            await prefixes.StoreAsync(prompt, 0, cancellationToken: Token);
        }

        var lying = new ChangedCache(_cache, (block, bytes) =>
        {
            if (block == 2)
                BitConverter.TryWriteBytes(bytes.Span[at..], int.MaxValue);
        });
        using var damaged = LLamaPrefixCache.Create(lying, context.Context, Blocks);
        var restored = await damaged.RestoreAsync(prompt, 1, cancellationToken: Token);

        Assert.True(restored is { Tokens: 32, Blocks: 2, Reason: MissReason.Corrupt }, $"{what}: {restored}");
        context.Decode(prompt.AsSpan(32), 32, 1);
    }

    [Fact]
    public async Task A_sequence_that_does_not_hold_the_tokens_is_not_stored()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        var seen = new ChangedCache(_cache);
        using var prefixes = LLamaPrefixCache.Create(seen, context.Context, Blocks);
        var prompt = context.Tokenize(HarborModel.Prompt)[..96];
        context.Decode(prompt.AsSpan(0, 40), 0);

        var stored = await prefixes.StoreAsync(prompt, 0, cancellationToken: Token);

        Assert.Equal((2, 4), (stored.Stored, stored.Refused)); // two whole blocks are there
        Assert.Equal(2, seen.Stored.Count);
    }

    [Fact]
    public async Task A_slot_file_is_read_by_llama_cpp_itself()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        using var prefixes = LLamaPrefixCache.Create(_cache, context.Context, Blocks);
        var prompt = context.Tokenize(HarborModel.Prompt);
        context.Decode(prompt.AsSpan(0, 336), 0);
        await prefixes.StoreAsync(prompt, 0, cancellationToken: Token);
        var expected = context.Decode(prompt.AsSpan(336), 336);
        var path = Path.GetTempFileName();
        try
        {
            var restored = await prefixes.RestoreAsync(prompt, 1, cancellationToken: Token);
            await prefixes.WriteSlotFileAsync(path, prompt.AsMemory(0, restored.Tokens), 1, Token);

            using var server = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
            Assert.Equal(prompt[..336], Load(server, path));
            Assert.Equal(expected, server.Decode(prompt.AsSpan(336), 336));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static unsafe LLamaToken[] Load(DrivenContext context, string path)
    {
        var tokens = new LLamaToken[1024];
        fixed (LLamaToken* pointer = tokens)
        {
            Assert.NotEqual(
                0u,
                NativeApi.llama_state_seq_load_file(
                    context.Context.NativeHandle, path, LLamaSeqId.Zero, pointer, (nuint)tokens.Length, out var count));
            return tokens[..(int)count];
        }
    }
}
