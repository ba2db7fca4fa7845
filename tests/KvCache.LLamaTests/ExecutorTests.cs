using KvCache.Client;
using KvCache.LLamaSharp;
using LLama;
using LLama.Common;
using LLama.Native;
using LLama.Sampling;

namespace KvCache.LLamaTests;

public sealed class ExecutorTests : IAsyncDisposable
{
    private const int Cached = 336; // the full blocks of the prompt, which has 341 tokens

    private readonly LocalKvCache _cache = new(ByteSize.MiB(64));
    private readonly LLamaWeights _weights = LLamaWeights.LoadFromFile(DrivenContext.Of(TestModels.Harbor));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        await _cache.DisposeAsync();
        _weights.Dispose();
    }

    [Fact]
    public async Task The_known_answer_is_given_whether_the_prompt_was_computed_loaded_or_still_there()
    {
        await using (var first = Create(_cache))
        {
            var (cold, usage) = await AnswerAsync(first, HarborModel.Prompt);
            Assert.Equal(HarborModel.Answer, cold);
            Assert.Equal((341, 0, 0), (usage.PromptTokens, usage.CachedTokens, usage.ResidentTokens));
            Assert.Equal((HarborModel.Answer.Length, LLamaAnswerEnd.Length), (usage.AnswerTokens, usage.End));
            await first.FlushAsync(Token);
        }

        await using var second = Create(_cache);
        var (warm, loaded) = await AnswerAsync(second, HarborModel.Prompt);
        var (again, there) = await AnswerAsync(second, HarborModel.Prompt);
        // The first one's answer is stored as well, for the next turn.
        await using var third = Create(_cache);
        var (_, turn) = await AnswerAsync(third, HarborModel.Prompt + HarborModel.Answer + "User: Where is Juniper?\nPilot: ", 1);

        Assert.Equal(
            (HarborModel.Answer, Cached, 0, Cached / 16),
            (warm, loaded.CachedTokens, loaded.ResidentTokens, loaded.Restore.Blocks));
        Assert.Equal((HarborModel.Answer, 340, 340, 0), (again, there.CachedTokens, there.ResidentTokens, there.Restore.Blocks));
        Assert.Equal((341 + HarborModel.Answer.Length - 1) / 16 * 16, turn.CachedTokens);
    }

    [Fact]
    public async Task What_stands_behind_a_context_shift_is_neither_stored_nor_taken_for_a_prefix()
    {
        var seen = new ChangedCache(_cache);
        await using var executor = Create(seen, context: 512);
        var parameters = Greedy(300) with
        {
            OverflowStrategy = ContextOverflowStrategy.TruncateAndReprefill,
            TokensKeep = 16,
            ContextTruncationPercentage = 0.5f,
        };
        var (text, usage) = await AnswerAsync(executor, HarborModel.Prompt, parameters);
        await executor.FlushAsync(Token);

        Assert.True(usage.AnswerTokens > 512 - 341, $"{usage.AnswerTokens} tokens do not fill the context");
        var computed = executor.Prefixes.PrefixOf(
            executor.Context.Tokenize((HarborModel.Prompt + text)[..512], addBos: true, special: true));
        Assert.Equal(computed.Chain.Hashes.ToArray(), seen.Stored);

        // What the sequence looks like now: the kept tokens, and those behind the dropped half of the others.
        var visible = HarborModel.Prompt[..16] + (HarborModel.Prompt + text)[(16 + ((512 - 16) / 2))..];
        var (answer, next) = await AnswerAsync(executor, visible, 20);
        await using var fresh = Create(new ChangedCache(new LocalKvCache(ByteSize.MiB(1))), context: 512);
        Assert.Equal((16, 0), (next.CachedTokens, next.ResidentTokens));
        Assert.Equal((await AnswerAsync(fresh, visible, 20)).Text, answer);
    }

    [Fact]
    public async Task A_full_conversation_ends_where_nobody_wants_a_shift()
    {
        await using var executor = Create(_cache, context: 512);

        var (_, usage) = await AnswerAsync(executor, HarborModel.Prompt, 400);

        Assert.Equal((512 - 341 + 1, LLamaAnswerEnd.Length), (usage.AnswerTokens, usage.End));
    }

    [Fact]
    public async Task Conversations_at_the_same_time_have_the_answers_that_they_have_alone()
    {
        string[] ships = ["Lantern", "Osprey", "Heron", "Kestrel"];
        var prompts = ships
            .Select(ship => HarborModel.Prompt.Replace("does Lantern", $"does {ship}", StringComparison.Ordinal)).ToList();
        var alone = new List<string>();
        foreach (var prompt in prompts)
        {
            await using var one = Create(new LocalKvCache(ByteSize.MiB(1)));
            alone.Add((await AnswerAsync(one, prompt, 60)).Text);
        }

        await using var executor = Create(_cache, context: 1024, conversations: 2);
        for (var round = 0; round < 2; round++)
        {
            var answers = await Task.WhenAll(prompts.Select(prompt => Task.Run(() => AnswerAsync(executor, prompt, 60), Token)));
            Assert.Equal(alone, answers.Select(answer => answer.Text));
            if (round == 1)
                Assert.All(answers, answer => Assert.True(answer.Usage.CachedTokens >= Cached, $"{answer.Usage}"));
            await executor.FlushAsync(Token); // before the next round: what is on its way is not found yet
        }
    }

    [Fact]
    public async Task A_cancelled_answer_leaves_what_was_computed_and_the_next_one_is_right()
    {
        await using var executor = Create(_cache);
        using var cancelled = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var pieces = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var piece in executor.AnswerAsync(HarborModel.Prompt, Greedy(100), cancelled.Token))
            {
                if (++pieces == 5)
                    await cancelled.CancelAsync();
            }
        });

        var (text, usage) = await AnswerAsync(executor, HarborModel.Prompt);
        await executor.FlushAsync(Token);
        await using var other = Create(_cache);
        var (warm, loaded) = await AnswerAsync(other, HarborModel.Prompt);

        Assert.Equal((5, HarborModel.Answer, 340), (pieces, text, usage.ResidentTokens));
        Assert.Equal((HarborModel.Answer, Cached), (warm, loaded.CachedTokens));
    }

    [Fact]
    public void A_batch_that_is_computed_can_be_cancelled_and_the_context_goes_on()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        using var abort = new LLamaSharp.Execution.AbortFlag(context.Context.NativeHandle);
        var batch = new LLamaBatch();
        batch.Add(1, 0, LLamaSeqId.Zero, true);

        using (abort.On(new CancellationToken(canceled: true)))
            Assert.NotEqual(DecodeResult.Ok, context.Context.NativeHandle.Decode(batch));

        context.Context.NativeHandle.MemorySequenceRemove(LLamaSeqId.Zero, -1, -1);
        Assert.Equal(DecodeResult.Ok, context.Context.NativeHandle.Decode(batch));
    }

    [Theory]
    [InlineData("match throws")]
    [InlineData("match cancels")]
    [InlineData("load throws")]
    [InlineData("load says too much")]
    [InlineData("load says less than nothing")]
    [InlineData("store throws")]
    public async Task A_cache_that_breaks_its_promises_changes_no_answer(string how)
    {
        await using (var first = Create(_cache))
        {
            await AnswerAsync(first, HarborModel.Prompt, 1);
            await first.FlushAsync(Token);
        }

        await using var executor = Create(new BrokenCache(_cache, how));
        for (var i = 0; i < 2; i++)
            Assert.Equal(HarborModel.Answer, (await AnswerAsync(executor, HarborModel.Prompt)).Text);
        await executor.FlushAsync(Token);
    }

    internal static async Task<(string Text, LLamaAnswerUsage Usage)> AnswerAsync(
        LLamaPrefixExecutor executor, string prompt, InferenceParams parameters)
    {
        var text = "";
        LLamaAnswerUsage? usage = null;
        await foreach (var piece in executor.AnswerAsync(prompt, parameters, Token))
        {
            text += piece.Text;
            usage = piece.Usage;
        }

        return (text, usage!);
    }

    internal static InferenceParams Greedy(int tokens) => new() { MaxTokens = tokens, SamplingPipeline = new GreedySamplingPipeline() };

    private static Task<(string Text, LLamaAnswerUsage Usage)> AnswerAsync(
        LLamaPrefixExecutor executor, string prompt, int? tokens = null) =>
        AnswerAsync(executor, prompt, Greedy(tokens ?? HarborModel.Answer.Length));

    private LLamaPrefixExecutor Create(IKvCache cache, uint context = 1024, int conversations = 1) => LLamaPrefixExecutor.Create(
        _weights, DrivenContext.Of(TestModels.Harbor) with { ContextSize = context }, cache,
        new LLamaPrefixExecutorOptions
        {
            Conversations = conversations,
            Prefixes = new LLamaPrefixCacheOptions { BlockTokens = 16 },
        });

    private sealed class BrokenCache(IKvCache cache, string how) : OtherKvCache(cache)
    {
        public override ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold, CancellationToken cancellationToken) => how switch
        {
            "match throws" => throw new InvalidOperationException(how),
            "match cancels" => throw new OperationCanceledException(how),
            _ => base.MatchAsync(prefix, hold, cancellationToken),
        };

        public override async ValueTask<LoadResult> LoadAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers, CacheMatch? match,
            CancellationToken cancellationToken)
        {
            if (how == "load throws")
                throw new IOException(how);
            var loaded = await base.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);
            return how switch
            {
                "load says too much" => loaded with { Blocks = int.MaxValue },
                "load says less than nothing" => loaded with { Blocks = -1 },
                _ => loaded,
            };
        }

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options,
            CancellationToken cancellationToken) =>
            how == "store throws" ? throw new IOException(how) : base.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
    }
}
