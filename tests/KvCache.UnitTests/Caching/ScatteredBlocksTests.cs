using CsCheck;
using KvCache.Client;
using KvCache.Testing;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ScatteredBlocksTests : IDisposable
{
    private readonly LocalKvCache _cache = new(ByteSize.MiB(16));
    private readonly ScatterBuffer _buffer = new(Names.Namespace.Layout, blocks: 2);

    private int _prefixes = 100;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _cache.Dispose();
        _buffer.Dispose();
    }

    [Fact]
    public async Task A_block_comes_in_one_piece_for_each_layer_where_memory_is_layer_major()
    {
        var prefix = Names.Prefix(5);
        var layout = prefix.Namespace.Layout;
        var blocks = Blocks.Of(prefix, 1);
        await _cache.StoreAsync(prefix, 0, Blocks.ToStore(blocks), null, Token);
        var slots = Enumerable.Range(0, layout.Layers).Select(_ => new byte[5 * layout.LayerBytes(0)]).ToArray(); // [layer][block]
        var pieces = Enumerable.Range(0, 5)
            .Select(block => slots.Select(slot => slot.AsMemory(block * layout.LayerBytes(0), layout.LayerBytes(0))).ToArray()).ToArray();

        Assert.Equal(new LoadResult(5, MissReason.None), await _cache.LoadAsync(prefix, 0, pieces, _buffer, cancellationToken: Token));
        for (var layer = 0; layer < layout.Layers; layer++)
            Assert.Equal(blocks.SelectMany(block => block[layout.LayerOffset(layer)..layout.LayerOffset(layer + 1)]), slots[layer]);
    }

    [Fact]
    public Task Pieces_of_any_sizes_make_up_what_was_stored_of_other_pieces() =>
        Gen.Select(Gen.Int[0, 12].Array[0, 12], Gen.Int[0, 12].Array[0, 12], Gen.Int[0, 2], Gen.Int[1, 3], Gen.Int).SampleAsync(
            async (stored, loaded, firstLayer, layers, seed) =>
            {
                var prefix = Names.Prefix(3, Interlocked.Increment(ref _prefixes)); // samples run side by side
                var layout = prefix.Namespace.Layout;
                var range = new LayerRange(firstLayer, Math.Min(layers, layout.Layers - firstLayer));
                var blocks = Blocks.Of(prefix, seed);
                var from = blocks.Select(block => Cut(block, stored).Select(piece => (ReadOnlyMemory<byte>)piece).ToArray()).ToArray();
                Assert.Equal(3, (await _cache.StoreAsync(prefix, 0, from, _buffer, null, Token)).Stored);

                var memory = blocks.Select(_ => new byte[layout.RangeBytes(range)]).ToArray();
                var to = memory.Select(block => Cut(block, loaded)).ToArray();
                Assert.Equal(
                    new LoadResult(3, MissReason.None), await _cache.LoadAsync(prefix, 0, to, _buffer, range, cancellationToken: Token));
                for (var i = 0; i < 3; i++)
                    Assert.Equal(blocks[i][layout.LayerOffset(range.First)..layout.LayerOffset(range.End)], memory[i]);
            });

    [Fact]
    public async Task What_is_absent_ends_the_load()
    {
        var prefix = Names.Prefix(4);
        var blocks = Blocks.Of(prefix, 1);
        await _cache.StoreAsync(prefix, 0, Blocks.ToStore(blocks[..3]), null, Token);
        var memory = Blocks.Empty(prefix);
        Assert.Equal(
            new LoadResult(3, MissReason.Absent),
            await _cache.LoadAsync(prefix, 0, memory.Select(block => Cut(block, [3, 20])).ToArray(), _buffer, cancellationToken: Token));
        Assert.Equal(blocks[..3], memory[..3]);
    }

    [Fact]
    public async Task What_goes_wrong_is_told_of_loads_and_stores_in_several_requests()
    {
        var prefix = Names.Prefix(5);
        var cache = new FailingCache(_cache) { FailsFrom = 2 };
        var blocks = Blocks.Of(prefix, 1);
        var stored = await cache.StoreAsync(
            prefix, 0, blocks.Select(block => new ReadOnlyMemory<byte>[] { block }).ToArray(), _buffer, null, Token);
        Assert.Equal((new StoreResult(2, 0, 0, MissReason.Unavailable, null), "The silo fell."), (stored, stored.Error));
        await _cache.StoreAsync(prefix, 0, Blocks.ToStore(blocks), null, Token);
        var loaded = await cache.LoadAsync(
            prefix, 0, Blocks.Empty(prefix).Select(block => new Memory<byte>[] { block }).ToArray(), _buffer, cancellationToken: Token);
        Assert.Equal((new LoadResult(2, MissReason.Unavailable), "The silo fell."), (loaded, loaded.Error));
    }

    [Fact]
    public void Of_results_that_are_added_the_first_reason_counts()
    {
        var first = new StoreResult(1, 2, 3, MissReason.None, null);
        var second = new StoreResult(1, 0, 1, MissReason.Refused, PutOutcome.NoMemory) { Error = "There is no room." };
        var third = new StoreResult(0, 0, 1, MissReason.Deadline, PutOutcome.TooLarge) { Error = "It was late." };
        var all = first.Add(second).Add(third);
        Assert.Equal(new StoreResult(2, 2, 5, MissReason.Refused, PutOutcome.NoMemory), all);
        Assert.Equal("There is no room.", all.Error);
    }

    [Fact]
    public async Task A_buffer_that_is_disposed_under_a_call_is_freed_behind_it_and_nobody_waits_for_ever()
    {
        var prefix = Names.Prefix(2);
        var blocks = Blocks.Of(prefix, 1);
        await _cache.StoreAsync(prefix, 0, Blocks.ToStore(blocks), null, Token);
        var cache = new FailingCache(_cache) { MayLoad = new TaskCompletionSource() };
        var buffer = new ScatterBuffer(prefix.Namespace.Layout, 1);
        byte[][] memory = Blocks.Empty(prefix), other = Blocks.Empty(prefix);
        Task<LoadResult> running = LoadAsync(memory), waiting = LoadAsync(other);

        buffer.Dispose();
        buffer.Dispose();
        cache.MayLoad.SetResult();

        Assert.Equal(new LoadResult(2, MissReason.None), await running.WaitAsync(Eventually.Bound, Token));
        Assert.Equal(blocks, memory);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(Eventually.Bound, Token));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => LoadAsync(other));
        Assert.Throws<ObjectDisposedException>(() => buffer.MemoryOf(0, prefix.Namespace.Layout.AllLayers).Span.Length);

        Task<LoadResult> LoadAsync(byte[][] destinations) => cache.LoadAsync(
            prefix, 0, destinations.Select(block => new Memory<byte>[] { block }).ToArray(), buffer, cancellationToken: Token).AsTask();
    }

    [Fact]
    public async Task Pieces_that_do_not_make_up_a_block_are_refused()
    {
        var prefix = Names.Prefix(1);
        var bytes = new byte[prefix.Namespace.Layout.BlockBytes];
        await RefusedAsync("destinations", [[bytes.AsMemory(1)]]);
        await RefusedAsync("destinations", [[bytes, bytes]]);
        await RefusedAsync("firstBlock", [[bytes], [bytes]]);
        await RefusedAsync("destinations", [null!]);
        using var other = new ScatterBuffer(KvLayout.Opaque(8, 2), 1);
        await Assert.ThrowsAsync<ArgumentException>("buffer", async () => await _cache.LoadAsync(prefix, 0, [[bytes]], other));
        Assert.Throws<ArgumentException>("blocks", () => new ScatterBuffer(KvLayout.Opaque(1 << 30, 1), 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ScatterBuffer(Names.Namespace.Layout, 0));

        async Task RefusedAsync(string parameter, Memory<byte>[][] pieces)
        {
            var error = await Assert.ThrowsAnyAsync<ArgumentException>(async () => await _cache.LoadAsync(prefix, 0, pieces, _buffer));
            Assert.Equal(parameter, error.ParamName);
        }
    }

    private sealed class FailingCache(IKvCache cache) : OtherKvCache(cache)
    {
        public int FailsFrom { get; init; } = int.MaxValue;

        public TaskCompletionSource? MayLoad { get; init; }

        public override async ValueTask<LoadResult> LoadAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
            CancellationToken cancellationToken = default)
        {
            if (firstBlock >= FailsFrom)
                return new LoadResult(0, MissReason.Unavailable) { Error = "The silo fell." };
            if (MayLoad is not null)
                await MayLoad.Task;
            return await base.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);
        }

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
            CancellationToken cancellationToken = default) => firstBlock >= FailsFrom
            ? new(new StoreResult { Reason = MissReason.Unavailable, Error = "The silo fell." })
            : base.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
    }

    // Empty pieces too; the last one is what is left.
    private static Memory<byte>[] Cut(byte[] block, int[] sizes)
    {
        var rest = block.AsMemory();
        var pieces = new List<Memory<byte>>();
        foreach (var size in sizes)
        {
            pieces.Add(rest[..Math.Min(size, rest.Length)]);
            rest = rest[pieces[^1].Length..];
        }

        return [.. pieces, rest];
    }
}
