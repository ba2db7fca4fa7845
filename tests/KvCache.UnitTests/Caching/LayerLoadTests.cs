using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Loading by layers from the caches of this process.</summary>
public sealed class LayerLoadTests : IAsyncDisposable
{
    private readonly LocalKvCache _near = new(new ByteSize(32 * Arena.PageBytes)), _far = new(new ByteSize(32 * Arena.PageBytes));
    private readonly TieredKvCache _tiered;
    private readonly KvPrefix _prefix = Names.Prefix(4);
    private readonly byte[][] _blocks;

    public LayerLoadTests()
    {
        _tiered = new TieredKvCache(_near, _far);
        _blocks = Blocks.Of(_prefix, seed: 1);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _tiered.DisposeAsync();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Layers_come_in_order_from_near_and_far(int near)
    {
        await StoreAsync(_near, near);
        await StoreAsync(_far, 4);
        var memory = Blocks.Empty(_prefix);
        var layers = 0;
        await foreach (var loaded in _tiered.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(memory), cancellationToken: Token))
        {
            Assert.Equal(new LoadedLayer(layers, 4, MissReason.None), loaded);
            for (var block = 0; block < 4; block++)
                Assert.Equal(_blocks[block][(16 * layers)..(16 * (layers + 1))], memory[block][(16 * layers)..(16 * (layers + 1))]);
            layers++;
        }

        Assert.Equal(3, layers);
        Assert.Equal(_blocks, memory);
        Assert.Equal(4, (await _near.MatchAsync(_prefix, default, Token)).Blocks); // what came from far is kept near
        Assert.Equal(4, (await _near.LoadAsync(_prefix, 0, Blocks.ToLoad(memory), cancellationToken: Token)).Blocks);
        Assert.Equal(_blocks, memory);
    }

    [Fact]
    public async Task A_run_of_layers_lands_at_the_front_and_is_not_kept_near()
    {
        await StoreAsync(_far, 4);
        byte[][] memory = [new byte[32], new byte[32]];
        var range = new LayerRange(1, 2);
        LoadedLayer[] expected = [new(1, 2, MissReason.None), new(2, 2, MissReason.None)];
        Assert.Equal(expected, await _tiered.LoadLayersAsync(_prefix, 2, Blocks.ToLoad(memory), range,
            cancellationToken: Token).ToArrayAsync(Token));
        Assert.Equal([_blocks[2][16..], _blocks[3][16..]], memory);
        Assert.Equal(0, (await _near.MatchAsync(_prefix, default, Token)).Blocks);
    }

    [Fact]
    public async Task What_is_not_stored_is_not_in_the_layers()
    {
        await StoreAsync(_far, 2);
        LoadedLayer[] expected = [new(0, 2, MissReason.Absent), new(1, 2, MissReason.Absent), new(2, 2, MissReason.Absent)];
        foreach (IKvCache cache in (IKvCache[])[_far, _tiered])
            Assert.Equal(
                expected, await cache.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(Blocks.Empty(_prefix)),
                    cancellationToken: Token).ToArrayAsync(Token));
        var other = Names.Prefix(1, seed: 9);
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Absent)],
            await _tiered.LoadLayersAsync(other, 0, Blocks.ToLoad(Blocks.Empty(other)), cancellationToken: Token).ToArrayAsync(Token));
        Assert.Empty(await _tiered.LoadLayersAsync(other, 0, [], cancellationToken: Token).ToArrayAsync(Token));
    }

    [Fact]
    public async Task Blocks_are_kept_while_they_are_read_and_no_longer()
    {
        await StoreAsync(_near, 4);
        var memory = Blocks.Empty(_prefix);
        await foreach (var loaded in _near.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(memory), cancellationToken: Token))
        {
            if (loaded.Layer == 0)
                Assert.Equal(4, (await _near.DeleteAsync(_prefix, Token)).Deleted);
        }

        Assert.Equal(_blocks, memory);
        Assert.Equal(0, (await _near.GetStatisticsAsync(Token)).MemoryBytes);
    }

    [Fact]
    public async Task A_reader_that_leaves_early_gives_the_blocks_back()
    {
        await StoreAsync(_far, 4);
        await foreach (var loaded in _tiered.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(Blocks.Empty(_prefix)), cancellationToken: Token))
            break;
        await _far.DeleteAsync(_prefix, Token);
        Assert.Equal(0, (await _far.GetStatisticsAsync(Token)).MemoryBytes);
        Assert.Equal(0, (await _near.GetStatisticsAsync(Token)).MemoryBytes);
    }

    [Fact]
    public async Task A_cache_that_knows_no_layers_hands_out_whole_blocks()
    {
        await StoreAsync(_far, 4);
        var memory = Blocks.Empty(_prefix);
        IKvCache cache = new WholeBlocks(_far);
        Assert.Equal(3, await cache.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(memory), cancellationToken: Token).CountAsync(Token));
        Assert.Equal(_blocks, memory);
    }

    [Fact]
    public async Task Misuse_is_told_at_once_and_so_is_a_closed_cache()
    {
        Assert.Throws<ArgumentOutOfRangeException>(
            () => _far.LoadLayersAsync(_prefix, 3, Blocks.ToLoad(Blocks.Empty(_prefix)), cancellationToken: Token));
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            async () => await _far.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(Blocks.Empty(_prefix)), cancellationToken: cancelled.Token)
            .CountAsync(Token));
        await _far.DisposeAsync();
        Assert.Throws<ObjectDisposedException>(
            () => _far.LoadLayersAsync(_prefix, 0, Blocks.ToLoad(Blocks.Empty(_prefix)), cancellationToken: Token));
    }

    private ValueTask<StoreResult> StoreAsync(LocalKvCache cache, int blocks) =>
        cache.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..blocks]), null, Token);

    private sealed class WholeBlocks(IKvCache cache) : OtherKvCache(cache);
}
