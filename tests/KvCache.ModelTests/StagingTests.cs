using CsCheck;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

public sealed class StagingTests : IAsyncDisposable
{
    private static readonly CacheNamespace Namespace =
        new() { Tenant = "default", Model = "staged", Layout = KvLayout.Create(3, 2, 4, KvDataType.BFloat16, 8) };
    private static readonly long[] Shape = [3, 2, 8, 2, 4];

    private readonly LocalKvCache _cache = new(ByteSize.MiB(4));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _cache.DisposeAsync();

    [Fact]
    public Task Blocks_come_back_through_any_ring_in_strided_tensors() =>
        Gen.Select(Gen.Int[1, 7], Gen.Int[1, 3], Gen.Int[2, 3], Gen.Int[0, 1000]).SampleAsync(async (count, blocks, buffers, prompt) =>
        {
            using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks, buffers);
            var prefix = Prefix(prompt, count);
            using var engine = torch.zeros([3, 2, count * 8, 2, 4], torch.ScalarType.BFloat16);
            using var known = torch.randn([3, 2, count * 8, 2, 4]).to(torch.ScalarType.BFloat16);
            var stored = await _cache.StoreAsync(prefix, 0, Parts(known, count), ring, null, Token);
            var loaded = await _cache.LoadAsync(prefix, 0, Parts(engine, count), ring, cancellationToken: Token);
            Assert.Equal(count, stored.Stored + stored.AlreadyStored);
            Assert.Equal(new LoadResult(count, MissReason.None), loaded);
            if (stored.AlreadyStored == 0)
                Assert.True(known.bytes.SequenceEqual(engine.bytes));
        }, iter: 50, threads: 1);

    [Fact]
    public async Task A_run_of_layers_comes_alone()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 2);
        using var known = await StoreAsync(0, 3);
        using var target = torch.zeros([1, 2, 24, 2, 4], torch.ScalarType.BFloat16);
        Assert.Equal(
            3, (await _cache.LoadAsync(Prefix(0, 3), 0, Parts(target, 3), ring, new LayerRange(1, 1), cancellationToken: Token)).Blocks);
        using var layer = known.narrow(0, 1, 1).contiguous();
        Assert.True(layer.bytes.SequenceEqual(target.bytes));
    }

    [Fact]
    public async Task While_a_buffer_is_received_the_one_before_it_is_copied()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 1);
        using var known = await StoreAsync(0, 2);
        using var target = torch.zeros([3, 2, 16, 2, 4], torch.ScalarType.BFloat16);
        var slow = new SlowCache(_cache);
        var loading = slow.LoadAsync(Prefix(0, 2), 0, Parts(target, 2), ring, cancellationToken: Token).AsTask();
        slow.Next.SetResult();
        await slow.Asked[1].Task.WaitAsync(Token); // the second block is asked for, and does not come
        using var first = known.narrow(2, 0, 8).contiguous();
        await UntilAsync(() =>
        {
            using var copy = target.narrow(2, 0, 8).contiguous();
            return copy.bytes.SequenceEqual(first.bytes);
        });
        Assert.False(loading.IsCompleted);
        slow.Next.SetResult();
        Assert.Equal(2, (await loading).Blocks);
        Assert.True(known.bytes.SequenceEqual(target.bytes));
    }

    [Fact]
    public async Task Layers_come_through_the_buffers_and_the_ring_is_free_again_behind_them()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 2);
        using var known = await StoreAsync(0, 4);
        for (var i = 0; i < 2; i++)
        {
            using var target = torch.zeros([3, 2, 32, 2, 4], torch.ScalarType.BFloat16);
            await using var layers = await _cache.LoadLayerTensorsAsync(Prefix(0, 4), 0, 4, ring, cancellationToken: Token);
            for (var layer = 0; layer < 3; layer++)
            {
                using var part = target.select(0, layer);
                Assert.True(await layers.CopyToAsync(layer, part));
            }

            Assert.True(known.bytes.SequenceEqual(target.bytes));
        }

        await Assert.ThrowsAsync<ArgumentException>(
            async () => await _cache.LoadLayerTensorsAsync(Prefix(0, 5), 0, 5, ring, cancellationToken: Token));
    }

    [Fact]
    public async Task A_missing_block_ends_the_load_and_later_tensors_are_left_alone()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 2);
        using var known = await StoreAsync(0, 3);
        using var target = torch.ones([3, 2, 48, 2, 4], torch.ScalarType.BFloat16);
        var result = await _cache.LoadAsync(Prefix(0, 6), 0, Parts(target, 6), ring, cancellationToken: Token);
        Assert.Equal(new LoadResult(3, MissReason.Absent), result);
        using var loaded = target.narrow(2, 0, 24).contiguous();
        using var rest = target.narrow(2, 24, 24);
        Assert.True(known.bytes.SequenceEqual(loaded.bytes));
        Assert.Equal(1, rest.to(torch.ScalarType.Float32).min().item<float>());
    }

    [Fact]
    public async Task A_cancelled_load_leaves_the_ring_to_the_next_one()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 1);
        using var known = await StoreAsync(0, 2);
        using var target = torch.zeros([3, 2, 16, 2, 4], torch.ScalarType.BFloat16);
        var slow = new SlowCache(_cache);
        using var cancelling = new CancellationTokenSource();
        var loading = slow.LoadAsync(Prefix(0, 2), 0, Parts(target, 2), ring, cancellationToken: cancelling.Token).AsTask();
        await slow.Asked[0].Task.WaitAsync(Token);
        await cancelling.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => loading);
        Assert.Equal(2, (await _cache.LoadAsync(Prefix(0, 2), 0, Parts(target, 2), ring, cancellationToken: Token)).Blocks);
    }

    [Fact]
    public async Task What_is_refused_ends_a_store()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 1);
        using var known = torch.zeros([3, 2, 64, 2, 4], torch.ScalarType.BFloat16);
        var result = await new SlowCache(_cache) { RefusesFrom = 2 }.StoreAsync(Prefix(0, 8), 0, Parts(known, 8), ring, null, Token);
        Assert.Equal(new StoreResult(2, 0, 1, MissReason.None, PutOutcome.NoMemory), result); // and not the five behind it
    }

    [Fact]
    public async Task A_ring_that_is_disposed_under_a_load_is_freed_behind_it()
    {
        var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 1);
        using var known = await StoreAsync(0, 2);
        var before = torch.Tensor.TotalCount;
        await using (var layers = await _cache.LoadLayerTensorsAsync(Prefix(0, 2), 0, 2, ring, cancellationToken: Token))
        {
            var waiting = _cache.LoadLayerTensorsAsync(Prefix(0, 2), 0, 2, ring, cancellationToken: Token).AsTask();
            ring.Dispose();
            using var layer = torch.zeros([2, 16, 2, 4], torch.ScalarType.BFloat16);
            Assert.True(await layers.CopyToAsync(2, layer));
            await layers.DisposeAsync();
            await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(Eventually.Bound, Token));
        }

        Assert.Equal(before - 2, torch.Tensor.TotalCount); // the ring's buffers
    }

    [Fact]
    public async Task Tensors_of_another_kind_are_errors()
    {
        using var ring = new StagingRing(Namespace.Layout, torch.CPU, blocks: 1);
        using torch.Tensor wide = torch.zeros(Shape), narrow = torch.zeros([3, 2, 8, 2, 3], torch.ScalarType.BFloat16),
            nowhere = torch.zeros(Shape, torch.ScalarType.BFloat16, torch.META);
        foreach (var tensor in new[] { wide, narrow, nowhere })
            await Assert.ThrowsAsync<ArgumentException>(
                async () => await _cache.LoadAsync(Prefix(0, 1), 0, [tensor], ring, cancellationToken: Token));
        Assert.Throws<ArgumentException>(() => new StagingRing(KvLayout.Opaque([0, 64], 8), torch.CPU, blocks: 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new StagingRing(Namespace.Layout, torch.CPU, blocks: 1, buffers: 1));
    }

    [Fact]
    public async Task Blocks_go_to_a_cuda_device_and_back()
    {
        Assert.SkipUnless(
            torch.cuda.is_available(), "libtorch has no CUDA device here: pinned memory and copies to a device are not tested.");
        using var ring = new StagingRing(Namespace.Layout, torch.CUDA, blocks: 2);
        Assert.True(ring.IsPinned);
        using var known = torch.randn([3, 2, 40, 2, 4]).to(torch.ScalarType.BFloat16);
        using var device = known.cuda();
        Assert.Equal(5, (await _cache.StoreAsync(Prefix(7, 5), 0, Parts(device, 5), ring, null, Token)).Stored);
        device.zero_();
        Assert.Equal(5, (await _cache.LoadAsync(Prefix(7, 5), 0, Parts(device, 5), ring, cancellationToken: Token)).Blocks);
        using var back = device.cpu();
        Assert.True(known.bytes.SequenceEqual(back.bytes));
    }

    [Fact]
    public async Task Pinned_tensors_are_destinations_like_others()
    {
        Assert.SkipUnless(torch.cuda.is_available(), "libtorch has no CUDA device here, and pins memory only for one.");
        using var known = await StoreAsync(0, 1);
        using torch.Tensor plain = torch.zeros(Shape, torch.ScalarType.BFloat16), pinned = plain.pin_memory();
        Assert.Equal(1, (await _cache.LoadAsync(Prefix(0, 1), 0, new[] { pinned }, cancellationToken: Token)).Blocks);
        Assert.True(known.bytes.SequenceEqual(pinned.bytes));
    }

    private static KvPrefix Prefix(int prompt, int blocks) => KvPrefix.Of(Namespace, [prompt, .. Enumerable.Range(1, (blocks * 8) - 1)]);

    // Views of a tensor that has all tokens of the prompt, as an engine's memory has them.
    private static List<torch.Tensor> Parts(torch.Tensor whole, int count) =>
        [.. Enumerable.Range(0, count).Select(i => whole.narrow(2, i * 8, 8))];

    private static async Task UntilAsync(Func<bool> condition)
    {
        while (!condition())
            await Task.Delay(1, Token);
    }

    private async Task<torch.Tensor> StoreAsync(int prompt, int count)
    {
        var known = torch.randn([3, 2, count * 8, 2, 4]).to(torch.ScalarType.BFloat16);
        await _cache.StoreAsync(Prefix(prompt, count), 0, [.. Parts(known, count).Select(part => part.contiguous())], null, Token);
        return known;
    }

    /// <summary>A cache whose loads wait for <see cref="Next"/>, one after the other, and that may be full.</summary>
    private sealed class SlowCache(IKvCache cache) : OtherKvCache(cache)
    {
        private int _loads;

        public TaskCompletionSource Next { get; private set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int RefusesFrom { get; init; } = int.MaxValue;

        public TaskCompletionSource[] Asked { get; } = [new(), new()];

        public override async ValueTask<LoadResult> LoadAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
            CancellationToken cancellationToken = default)
        {
            var gate = Next = _loads == 0 ? Next : new(TaskCreationOptions.RunContinuationsAsynchronously);
            Asked[_loads++].SetResult();
            await gate.Task.WaitAsync(cancellationToken);
            return await base.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);
        }

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
            CancellationToken cancellationToken = default) =>
            firstBlock < RefusesFrom
                ? base.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken)
                : new(default(StoreResult).With(PutOutcome.NoMemory));
    }
}
