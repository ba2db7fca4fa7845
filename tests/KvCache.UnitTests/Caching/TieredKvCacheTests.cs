using KvCache.Client;
using KvCache.Client.Caching;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TieredKvCacheTests : IAsyncDisposable
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    private readonly ManualTime _time = new();
    private readonly LocalKvCache _near, _far;
    private readonly TieredKvCache _cache;
    private readonly KvPrefix _prefix = Names.Prefix(3);
    private readonly byte[][] _blocks;

    public TieredKvCacheTests()
    {
        _near = new LocalKvCache(new ByteSize(16 * Arena.PageBytes), _time);
        _far = new LocalKvCache(new ByteSize(16 * Arena.PageBytes), _time);
        _cache = new TieredKvCache(_near, _far) { NearLife = Minute };
        _blocks = Blocks.Of(_prefix, seed: 1);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _cache.DisposeAsync();

    [Fact]
    public async Task A_store_reaches_both()
    {
        Assert.Equal(new StoreResult(3, 0, 0, MissReason.None, null), await StoreAsync(_cache));
        Assert.Equal((3, 3), (await CountAsync(_near), await CountAsync(_far)));
        await CheckLoadAsync(3);
    }

    [Fact]
    public async Task What_came_from_far_is_kept_near()
    {
        await StoreAsync(_far);
        await CheckLoadAsync(3);
        Assert.Equal(3, await CountAsync(_near));
        await _far.DeleteAsync(_prefix, Token);
        await CheckLoadAsync(3);
    }

    [Fact]
    public async Task A_load_takes_the_front_from_near_and_the_rest_from_far()
    {
        await _near.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..1]), null, Token);
        await _far.StoreAsync(_prefix, 1, Blocks.ToStore(_blocks[1..]), null, Token);
        await CheckLoadAsync(3);
        Assert.Equal(3, await CountAsync(_near));
    }

    [Fact]
    public async Task Single_layers_are_loaded_and_not_kept()
    {
        await StoreAsync(_far);
        byte[][] layer = [new byte[16]];
        Assert.Equal(
            new LoadResult(1, MissReason.None), await _cache.LoadAsync(_prefix, 0, Blocks.ToLoad(layer), new LayerRange(2, 1),
                cancellationToken: Token));
        Assert.Equal(_blocks[0][32..], layer[0]);
        Assert.Equal(0, await CountAsync(_near));
    }

    [Fact]
    public async Task Near_copies_live_no_longer_than_their_limit_nor_than_the_block()
    {
        await StoreAsync(_cache, new StoreOptions(10 * Minute));
        _time.Advance(Minute);
        Assert.Equal((0, 3), (await CountAsync(_near), await CountAsync(_far)));
        await CheckLoadAsync(3);
        _time.Advance(Minute);
        Assert.Equal(0, await CountAsync(_near));

        await _cache.DeleteAsync(_prefix, Token);
        await StoreAsync(_cache, new StoreOptions(Minute / 2));
        _time.Advance(Minute / 2);
        Assert.Equal((0, 0), (await CountAsync(_near), await CountAsync(_far)));
    }

    [Fact]
    public async Task A_delete_is_obeyed_by_both()
    {
        await StoreAsync(_cache);
        Assert.Equal(3, (await _cache.DeleteAsync(_prefix, Token)).Deleted);
        Assert.Equal((0, 0), (await CountAsync(_near), await CountAsync(_far)));
        Assert.Equal(0, (await _cache.DeleteAsync(_prefix, Token)).Deleted);
    }

    [Fact]
    public async Task A_delete_wins_over_a_load_that_runs_beside_it()
    {
        await using var far = new PausedFar(_far);
        await using var cache = new TieredKvCache(_near, far);
        await StoreAsync(_far);
        var loaded = Blocks.Empty(_prefix);
        var load = cache.LoadAsync(_prefix, 0, Blocks.ToLoad(loaded), cancellationToken: Token).AsTask();
        await far.HasRead.Task;

        Assert.Equal(3, (await cache.DeleteAsync(_prefix, Token)).Deleted);
        far.Resumed.SetResult();

        Assert.Equal(3, (await load).Blocks);
        Assert.Equal(0, await CountAsync(_near));
        Assert.Equal(0, (await cache.MatchAsync(_prefix, default, Token)).Blocks);
    }

    [Fact]
    public async Task A_delete_waits_for_copies_that_are_being_made()
    {
        var gate = new RefillGate();
        var epoch = gate.Current;
        Assert.True(gate.TryEnter(epoch));
        Assert.True(gate.TryEnter(epoch));
        var end = gate.EndEpochAsync();
        Assert.False(gate.TryEnter(epoch));
        gate.Leave(epoch);
        Assert.False(end.IsCompleted);
        gate.Leave(epoch);
        await end;
        Assert.True(gate.TryEnter(gate.Current));
    }

    [Fact]
    public async Task A_match_of_a_group_is_its_weakest_rank()
    {
        var group = RankGroup.AllOf(Names.Namespace with { TensorParallelSize = 2 });
        var (first, second) = (group.PrefixOf(0, _prefix.Chain), group.PrefixOf(1, _prefix.Chain));
        await _far.StoreAsync(first, 0, Blocks.ToStore(_blocks), null, Token);
        await _far.StoreAsync(second, 0, Blocks.ToStore(_blocks[..2]), null, Token);
        await _near.StoreAsync(first, 0, Blocks.ToStore(_blocks), null, Token);
        var match = await _cache.MatchAsync(group, _prefix.Chain, Minute, Token);
        Assert.Equal((2, 4, MissReason.Absent, true), (match.Blocks, match.Tokens, match.Reason, match.Held));

        await _cache.DeleteAsync(first, Token);
        await _cache.DeleteAsync(second, Token);
        Assert.Equal((0, 4 * Arena.PageBytes), await MemoryAsync()); // two blocks of each rank are held
        await match.DisposeAsync();
        Assert.Equal((0, 0), await MemoryAsync());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(17)]
    public async Task Replicas_out_of_their_bounds_are_errors(int replicas)
    {
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await StoreAsync(_cache, new StoreOptions(Replicas: replicas)));
    }

    [Theory]
    [InlineData(0, 0, 0, MissReason.Absent)]
    [InlineData(1, 2, 2, MissReason.Absent)]
    [InlineData(2, 1, 2, MissReason.Absent)]
    [InlineData(3, 0, 3, MissReason.None)]
    [InlineData(0, 3, 3, MissReason.None)]
    public async Task A_match_is_the_longer_one(int near, int far, int blocks, MissReason reason)
    {
        await _near.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..near]), null, Token);
        await _far.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..far]), null, Token);
        await using var match = await _cache.MatchAsync(_prefix, Minute, Token);
        Assert.Equal((blocks, 2 * blocks, reason, near + far > 0), (match.Blocks, match.Tokens, match.Reason, match.Held));
    }

    [Fact]
    public async Task The_end_of_a_match_ends_the_holds_of_both()
    {
        await _near.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..1]), null, Token);
        await StoreAsync(_far);
        var match = await _cache.MatchAsync(_prefix, Minute, Token);
        await _cache.DeleteAsync(_prefix, Token);
        Assert.NotEqual((0, 0), await MemoryAsync());
        await match.DisposeAsync();
        Assert.Equal((0, 0), await MemoryAsync());
    }

    [Fact]
    public async Task A_far_cache_that_is_gone_is_a_miss()
    {
        await _near.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..1]), null, Token);
        await _far.DisposeAsync();
        var loaded = Blocks.Empty(_prefix);
        Assert.Equal(
            new LoadResult(1, MissReason.Unavailable), await _cache.LoadAsync(_prefix, 0, Blocks.ToLoad(loaded), cancellationToken: Token));
        Assert.Equal(_blocks[0], loaded[0]);
        Assert.Equal(1, (await _cache.MatchAsync(_prefix, default, Token)).Blocks);
        Assert.Equal(MissReason.Unavailable, (await StoreAsync(_cache)).Reason);
    }

    [Fact]
    public async Task A_near_cache_that_is_gone_is_not_missed()
    {
        await StoreAsync(_far);
        await _near.DisposeAsync();
        await CheckLoadAsync(3);
        Assert.Equal(3, (await _cache.MatchAsync(_prefix, default, Token)).Blocks);
    }

    [Fact]
    public async Task A_cancelled_call_says_so()
    {
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await _cache.MatchAsync(_prefix, Minute, cancelled));
        await Assert.ThrowsAsync<OperationCanceledException>(
            async () => await _cache.LoadAsync(_prefix, 0, Blocks.ToLoad(_blocks), cancellationToken: cancelled));
        await Assert.ThrowsAsync<OperationCanceledException>(
            async () => await _cache.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks), null, cancelled));
    }

    [Fact]
    public async Task Arguments_that_do_not_fit_are_errors()
    {
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await _cache.LoadAsync(_prefix, 1, Blocks.ToLoad(_blocks), cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await _cache.StoreAsync(_prefix, 0, [new byte[1]], null, Token));
    }

    [Fact]
    public async Task Statistics_are_those_of_both()
    {
        await _near.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks[..1]), null, Token);
        await StoreAsync(_far);
        await CheckLoadAsync(3);
        var statistics = await _cache.GetStatisticsAsync(Token);
        Assert.Equal((3, 3 * 48, 3 * Arena.PageBytes), (statistics.Hits, statistics.LoadedBytes, statistics.MemoryBytes));
        Assert.Equal(1, statistics.HitRate);
    }

    [Fact]
    public async Task Pins_are_the_far_caches_business()
    {
        await StoreAsync(_far);
        Assert.Equal(3, await _cache.PinAsync(_prefix, Minute, Token));
    }

    private ValueTask<StoreResult> StoreAsync(IKvCache cache, StoreOptions? options = null) =>
        cache.StoreAsync(_prefix, 0, Blocks.ToStore(_blocks), options, Token);

    private async Task<int> CountAsync(LocalKvCache cache) => (await cache.MatchAsync(_prefix, default, Token)).Blocks;

    private async Task<(long, long)> MemoryAsync() =>
        ((await _near.GetStatisticsAsync(Token)).MemoryBytes, (await _far.GetStatisticsAsync(Token)).MemoryBytes);

    private async Task CheckLoadAsync(int blocks)
    {
        var loaded = Blocks.Empty(_prefix);
        Assert.Equal(
            new LoadResult(blocks, MissReason.None), await _cache.LoadAsync(_prefix, 0, Blocks.ToLoad(loaded), cancellationToken: Token));
        Assert.Equal(_blocks, loaded);
    }

    /// <summary>A far cache whose load has read, and has not returned yet.</summary>
    private sealed class PausedFar(IKvCache far) : OtherKvCache(far)
    {
        public TaskCompletionSource HasRead { get; } = new();

        public TaskCompletionSource Resumed { get; } = new();

        public override async ValueTask<LoadResult> LoadAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
            CancellationToken cancellationToken = default)
        {
            var result = await base.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);
            HasRead.SetResult();
            await Resumed.Task;
            return result;
        }
    }
}
