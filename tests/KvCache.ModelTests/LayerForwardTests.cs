using KvCache.Client;
using KvCache.InferenceNode;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

/// <summary>Computing behind a prefix whose KV arrives layer by layer.</summary>
public sealed class LayerForwardTests
{
    private const int TokensPerBlock = 16;

    private static readonly int[] Prompt = [.. Enumerable.Range(0, 700).Select(i => i * 7 % 512)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(KvDataType.Float32, 40)]
    [InlineData(KvDataType.BFloat16, 40)]
    [InlineData(KvDataType.Float32, 600)] // which take two runs
    public async Task The_logits_are_those_of_imported_blocks(KvDataType type, int computed)
    {
        using var tiny = TestModels.Load("random:tiny", new ModelLoadOptions { DataType = type, Seed = 3 });
        var count = (Prompt.Length - computed) / TokensPerBlock;
        var rest = Prompt.AsMemory(count * TokensPerBlock);
        using var writer = tiny.Model.CreateSession();
        writer.Forward(Prompt).Dispose();
        using var whole = tiny.Model.CreateSession();
        await using var cache = new LocalKvCache(ByteSize.MiB(64));
        var prefix = await StoreAsync(cache, tiny.Model, writer);
        for (var i = 0; i < count; i++)
        {
            using var block = writer.ExportBlock(i * TokensPerBlock, TokensPerBlock);
            whole.ImportBlock(block);
        }

        using var expected = whole.Forward(rest.Span);
        using var layered = tiny.Model.CreateSession();
        await using var layers = cache.LoadLayerTensors(prefix, 0, count, cancellationToken: Token);
        using var actual = await layered.ForwardAsync(rest, count * TokensPerBlock, layers.CopyToAsync);

        Assert.NotNull(actual);
        Assert.True(expected.bytes.SequenceEqual(actual.bytes));
        Assert.Equal(Prompt.Length, layered.Length);
        Assert.Equal(TestModels.Continue(whole, [1], 20), TestModels.Continue(layered, [1], 20));
    }

    [Fact]
    public async Task A_layer_is_waited_for_just_before_it_is_needed()
    {
        using var tiny = TestModels.Load("random:tiny");
        using var session = tiny.Model.CreateSession();
        var layers = Enumerable.Range(0, 4).Select(_ => new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously))
            .ToArray();
        var asked = Enumerable.Range(0, 4).Select(_ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously))
            .ToArray();

        var forward = session.ForwardAsync(Prompt.AsMemory(0, 5), 32, (layer, destination) =>
        {
            destination.zero_().Dispose();
            asked[layer].SetResult();
            return new ValueTask<bool>(layers[layer].Task);
        }).AsTask();

        for (var layer = 0; layer < 4; layer++)
        {
            await asked[layer].Task.WaitAsync(TimeSpan.FromSeconds(60), Token);
            Assert.False(forward.IsCompleted);
            Assert.All(asked.Skip(layer + 1), later => Assert.False(later.Task.IsCompleted));
            layers[layer].SetResult(true);
        }

        using var logits = await forward;
        Assert.Equal((37, 512L), (session.Length, logits!.shape[0]));
    }

    [Fact]
    public async Task A_layer_that_does_not_come_leaves_the_sequence_as_it_was()
    {
        using var tiny = TestModels.Load("random:tiny");
        using var session = tiny.Model.CreateSession();
        using var fresh = tiny.Model.CreateSession();
        session.Forward(Prompt.AsSpan(0, 40)).Dispose();
        fresh.Forward(Prompt.AsSpan(0, 40)).Dispose();

        Assert.Null(await session.ForwardAsync(Prompt.AsMemory(0, 5), 300, (layer, destination) =>
        {
            destination.fill_(float.NaN).Dispose();
            return new ValueTask<bool>(layer < 2);
        }));
        await Assert.ThrowsAsync<IOException>(
            async () => await session.ForwardAsync(Prompt.AsMemory(0, 5), 300, (_, _) => throw new IOException()));
        await Assert.ThrowsAsync<ArgumentException>(
            async () => await session.ForwardAsync(Prompt.AsMemory(0, 5), 0, (_, _) => new ValueTask<bool>(true)));
        await Assert.ThrowsAsync<ArgumentException>(
            async () => await session.ForwardAsync(Prompt.AsMemory(0, 5), 8190, (_, _) => new ValueTask<bool>(true)));

        Assert.Equal(40, session.Length);
        Assert.Equal(TestModels.Continue(fresh, [1, 2], 20), TestModels.Continue(session, [1, 2], 20));
    }

    [Fact]
    public async Task Layer_by_layer_holds_no_tensors_but_the_session()
    {
        using var tiny = TestModels.Load("random:tiny");
        using var writer = tiny.Model.CreateSession();
        writer.Forward(Prompt).Dispose();
        await using var cache = new LocalKvCache(ByteSize.MiB(64));
        var prefix = await StoreAsync(cache, tiny.Model, writer);
        using var session = tiny.Model.CreateSession();
        session.Forward(Prompt).Dispose();
        session.Truncate(0);

        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = torch.Tensor.TotalCount;
        await using (var layers = cache.LoadLayerTensors(prefix, 0, 10, cancellationToken: Token))
        {
            using var logits = await session.ForwardAsync(Prompt.AsMemory(160), 160, layers.CopyToAsync);
            Assert.NotNull(logits);
        }

        Assert.Equal(before, torch.Tensor.TotalCount);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(0)]
    [InlineData(int.MaxValue)]
    public async Task The_text_is_that_of_the_model_whatever_layer_the_cache_stops_at(int layers)
    {
        using var harbor = TestModels.Harbor();
        await using var local = new LocalKvCache(ByteSize.MiB(64));
        var options = new GenerationOptions { TokensPerBlock = TokensPerBlock, MaxTokens = 40 };
        var expected = await local.GenerateWithCacheAsync(
            harbor.Model, harbor.Tokenizer, HarborModel.Prompt, options: options).ToResultAsync(Token);
        Assert.Equal(0, expected.HitTokens);

        var cache = new StoppingCache(local, layers);
        var actual = await cache.GenerateWithCacheAsync(
            harbor.Model, harbor.Tokenizer, HarborModel.Prompt, options: options).ToResultAsync(Token);

        Assert.Equal(expected.Text, actual.Text);
        Assert.Equal(layers == int.MaxValue, actual.HitTokens > 0);
        Assert.True(actual.LoadTime > TimeSpan.Zero && actual.HiddenLoadTime >= TimeSpan.Zero);
    }

    private static async Task<KvPrefix> StoreAsync(LocalKvCache cache, ICausalModel model, ICausalSession session)
    {
        var prefix = KvPrefix.Of(CachedGeneration.NamespaceOf(model, new GenerationOptions { TokensPerBlock = TokensPerBlock }), Prompt);
        var blocks = new List<torch.Tensor>();
        for (var i = 0; i < prefix.BlockCount; i++)
            blocks.Add(session.ExportBlock(i * TokensPerBlock, TokensPerBlock));
        Assert.Equal(prefix.BlockCount, (await cache.StoreAsync(prefix, 0, blocks, cancellationToken: Token)).Stored);
        blocks.ForEach(block => block.Dispose());
        return prefix;
    }

    /// <summary>A cache whose loads end behind some layers, as when its silo is killed.</summary>
    private sealed class StoppingCache(IKvCache cache, int layers) : OtherKvCache(cache), IKvCache
    {
        public async IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? range = null, CacheMatch? match = null,
                [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            await foreach (var loaded in Inner.LoadLayersAsync(prefix, firstBlock, destinations, range, match, cancellationToken))
            {
                yield return loaded.Layer < layers ? loaded : new LoadedLayer(loaded.Layer, 0, MissReason.Unavailable);
                if (loaded.Layer >= layers)
                    yield break;
            }
        }
    }
}
