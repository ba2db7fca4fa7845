namespace KvCache.Testing;

/// <summary>
/// What every <see cref="IKvCache"/> promises: each implementation goes through the same cases. What one cannot do it says in
/// <see cref="IKvCache.Capabilities"/>, and the case then checks what happens instead.
/// </summary>
public abstract partial class CacheContract : IAsyncLifetime
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);
    private static readonly KvLayout Layout = KvLayout.Create(
        layers: 3, kvHeads: 2, headDim: 4, KvDataType.Float32, tokensPerBlock: 4);

    private static int _nextToken;

    // Of each test its own, so that caches that are shared are as empty as new ones.
    private readonly CacheNamespace _ns = new() { Tenant = "default", Model = $"contract-{Guid.NewGuid():N}", Layout = Layout };
    private IKvCache _cache = null!;

    /// <summary>What the implementation has to say of itself.</summary>
    protected abstract CacheCapabilities Capabilities { get; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        await StartAsync();
        _cache = Create();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cache is not null)
            await _cache.DisposeAsync();
        await EndAsync();
        GC.SuppressFinalize(this);
    }

    /// <summary>A new cache; over the same memory as another one, where that is shared.</summary>
    protected abstract IKvCache Create();

    /// <summary>Starts what the caches of a test need.</summary>
    protected virtual ValueTask StartAsync() => default;

    /// <summary>Ends what <see cref="StartAsync"/> has started.</summary>
    protected virtual ValueTask EndAsync() => default;

    [Fact]
    public void It_says_what_it_can_do() => Assert.Equal(Capabilities, _cache.Capabilities);

    [Fact]
    public async Task What_was_stored_is_found_and_loaded_whole_and_by_some_layers()
    {
        var prefix = New(5);
        Assert.Equal((0, MissReason.Absent), await MatchAsync(prefix));
        Assert.Equal(new StoreResult(5, 0, 0, MissReason.None, null), await _cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token));
        Assert.Equal((5, MissReason.None), await MatchAsync(prefix));
        await AssertLoadsAsync(prefix);

        var range = new LayerRange(1, 2);
        var memory = Memory(3, Layout.RangeBytes(range));
        Assert.Equal(new LoadResult(3, MissReason.None), await _cache.LoadAsync(prefix, 2, memory, range, cancellationToken: Token));
        for (var i = 0; i < 3; i++)
            Assert.Equal(BlockOf(prefix, 2 + i)[Layout.LayerOffset(1)..], memory[i].ToArray());
    }

    [Fact]
    public async Task What_is_stored_is_not_stored_again()
    {
        var prefix = New(4);
        await _cache.StoreAsync(prefix, 0, Blocks(prefix)[..3], null, Token);
        Assert.Equal(new StoreResult(1, 3, 0, MissReason.None, null), await _cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token));
        await AssertLoadsAsync(prefix);
    }

    [Fact]
    public async Task A_load_ends_at_the_first_block_that_is_absent()
    {
        var prefix = New(4);
        await _cache.StoreAsync(prefix, 0, Blocks(prefix)[..2], null, Token);
        await _cache.StoreAsync(prefix, 3, Blocks(prefix)[3..], null, Token);
        Assert.Equal((2, MissReason.Absent), await MatchAsync(prefix));
        Assert.Equal(
            new LoadResult(2, MissReason.Absent),
            await _cache.LoadAsync(prefix, 0, Memory(4, Layout.BlockBytes), cancellationToken: Token));
    }

    [Fact]
    public async Task Nothing_of_nothing_is_no_miss()
    {
        var prefix = New(1);
        Assert.Equal(default, await _cache.LoadAsync(prefix, 0, [], cancellationToken: Token));
        Assert.Equal(default, await _cache.StoreAsync(prefix, 1, [], null, Token));
        Assert.Equal(0, await _cache.LoadLayersAsync(prefix, 0, [], cancellationToken: Token).CountAsync(Token));
        Assert.Equal((0, MissReason.None), await MatchAsync(KvPrefix.Of(_ns, [])));
    }

    [Fact]
    public async Task Namespaces_share_nothing()
    {
        var prefix = New(2);
        await StoreAsync(prefix);
        var other = prefix with { Namespace = _ns with { Salt = "another" } };
        Assert.Equal((0, MissReason.Absent), await MatchAsync(other));
        Assert.Equal(
            new LoadResult(0, MissReason.Absent),
            await _cache.LoadAsync(other, 0, Memory(2, Layout.BlockBytes), cancellationToken: Token));
    }

    [Fact]
    public async Task Ranks_have_together_what_the_least_of_them_has()
    {
        var ns = _ns with { TensorParallelSize = 2 };
        var prefix = New(3, ns);
        var second = prefix.OnRank(1);
        await StoreAsync(prefix);
        await _cache.StoreAsync(second, 0, Blocks(second)[..2], null, Token);
        await using var match = await _cache.MatchAsync(RankGroup.AllOf(ns), prefix.Chain, Minute, Token);
        Assert.Equal((2, MissReason.Absent, Has(CacheCapabilities.Hold)), (match.Blocks, match.Reason, match.Held));
    }

    [Fact]
    public async Task Another_cache_sees_what_is_stored_where_that_is_shared()
    {
        var prefix = New(2);
        await StoreAsync(prefix);
        await using var another = Create();
        Assert.Equal(Has(CacheCapabilities.Shared) ? 2 : 0, (await another.MatchAsync(prefix, default, Token)).Blocks);
    }

    [Fact]
    public async Task Layers_come_in_their_order_and_a_reader_may_leave_early()
    {
        var prefix = New(3);
        await StoreAsync(prefix);
        var memory = Memory(3, Layout.BlockBytes);
        Assert.Equal(
            Enumerable.Range(0, 3).Select(layer => new LoadedLayer(layer, 3, MissReason.None)),
            await _cache.LoadLayersAsync(prefix, 0, memory, cancellationToken: Token).ToListAsync(Token));
        AssertRight(prefix, memory);
        Assert.Equal(
            [new LoadedLayer(2, 1, MissReason.None)],
            await _cache.LoadLayersAsync(prefix, 1, Memory(1, Layout.BlockBytes / 3), new LayerRange(2, 1), cancellationToken: Token)
                .ToListAsync(Token));
        Assert.Equal(
            [new LoadedLayer(0, 0, MissReason.Absent)],
            await _cache.LoadLayersAsync(New(2), 0, Memory(2, Layout.BlockBytes), cancellationToken: Token).ToListAsync(Token));

        await foreach (var layer in _cache.LoadLayersAsync(prefix, 0, memory, cancellationToken: Token))
        {
            Assert.Equal(0, layer.Layer);
            break;
        }

        await AssertLoadsAsync(prefix);
    }

    [Fact]
    public async Task Following_loads_what_is_stored()
    {
        var prefix = New(2);
        await StoreAsync(prefix);
        var memory = Memory(2, Layout.BlockBytes);
        Assert.Equal(3, await _cache.FollowLayersAsync(prefix, 0, memory, cancellationToken: Token).CountAsync(Token));
        AssertRight(prefix, memory);
    }

    [Fact]
    public async Task A_store_by_layers_is_seen_when_its_last_layer_is_ready_and_not_before()
    {
        KvPrefix whole = New(2), givenUp = New(2), failed = New(2);
        var result = await _cache.StoreLayersAsync(whole, 0, Blocks(whole), Ready(3), null, Token);
        Assert.Equal(new StoreResult(2, 0, 0, MissReason.None, null), result);
        await AssertLoadsAsync(whole);

        result = await _cache.StoreLayersAsync(givenUp, 0, Blocks(givenUp), Ready(2), null, Token);
        Assert.Equal((0, MissReason.Absent), (result.Stored, result.Reason));
        var error = await Assert.ThrowsAsync<InvalidOperationException>(
            async () => await _cache.StoreLayersAsync(failed, 0, Blocks(failed), Ready(2, "The model fell."), null, Token));
        Assert.Equal("The model fell.", error.Message);
        Assert.Equal((0, MissReason.Absent), await MatchAsync(givenUp));
        Assert.Equal((0, MissReason.Absent), await MatchAsync(failed));

        static async IAsyncEnumerable<int> Ready(int layers, string? failure = null)
        {
            for (var layer = 0; layer < layers; layer++)
            {
                await Task.Yield();
                yield return layer;
            }

            if (failure is not null)
                throw new InvalidOperationException(failure);
        }
    }

    [Fact]
    public async Task A_match_holds_what_it_finds_where_that_is_possible()
    {
        var prefix = New(3);
        await StoreAsync(prefix);
        var match = await _cache.MatchAsync(prefix, Minute, Token);
        Assert.Equal((3, Has(CacheCapabilities.Hold)), (match.Blocks, match.Held));
        var memory = Memory(3, Layout.BlockBytes);
        Assert.Equal(new LoadResult(3, MissReason.None), await _cache.LoadAsync(prefix, 0, memory, null, match, Token));
        AssertRight(prefix, memory);
        await match.DisposeAsync();
        await match.DisposeAsync();
        Assert.False(match.Held);
        Assert.False((await _cache.MatchAsync(prefix, default, Token)).Held);
        Assert.False((await _cache.MatchAsync(New(1), Minute, Token)).Held);
        await AssertLoadsAsync(prefix);
    }

    [Fact]
    public async Task Pins_work_where_that_is_possible_and_hints_are_heard_or_not()
    {
        var prefix = New(3);
        Assert.Equal(0, await _cache.PinAsync(prefix, Minute, Token));
        await StoreAsync(prefix);
        var pinned = Has(CacheCapabilities.Pin) ? 3 : 0;
        Assert.Equal(pinned, await _cache.PinAsync(prefix, Minute, Token));
        Assert.Equal(pinned, await _cache.PinAsync(prefix, TimeSpan.Zero, Token));
        await _cache.HintAsync(prefix, new CacheHint(), Token);
        await AssertLoadsAsync(prefix);
    }

    [Fact]
    public async Task Many_at_once_get_the_right_bytes()
    {
        var prefix = New(6);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(
            async () =>
            {
                for (var round = 0; round < 10; round++)
                {
                    var stored = await _cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
                    Assert.Equal((6, MissReason.None), (stored.Stored + stored.AlreadyStored + stored.Refused, stored.Reason));
                    var memory = Memory(6, Layout.BlockBytes);
                    var loaded = await _cache.LoadAsync(prefix, 0, memory, cancellationToken: Token);
                    AssertRight(prefix, memory[..loaded.Blocks]);
                }
            },
            Token)));
        Assert.Equal(new StoreResult(0, 6, 0, MissReason.None, null), await _cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token));
        await AssertLoadsAsync(prefix);
    }

    private bool Has(CacheCapabilities capability) => Capabilities.HasFlag(capability);

    private KvPrefix New(int blocks, CacheNamespace? ns = null)
    {
        var first = Interlocked.Increment(ref _nextToken);
        return KvPrefix.Of(ns ?? _ns, [first, .. Enumerable.Range(0, (blocks * Layout.TokensPerBlock) - 1)]);
    }

    private async Task<(int Blocks, MissReason Reason)> MatchAsync(KvPrefix prefix)
    {
        var match = await _cache.MatchAsync(prefix, default, Token);
        return (match.Blocks, match.Reason);
    }

    private async Task StoreAsync(KvPrefix prefix, TimeSpan? life = null, bool refresh = true)
    {
        var result = await _cache.StoreAsync(prefix, 0, Blocks(prefix), new StoreOptions(life, RefreshLife: refresh), Token);
        Assert.Equal((prefix.BlockCount, 0), (result.Stored + result.AlreadyStored, result.Refused));
    }

    private async Task AssertLoadsAsync(KvPrefix prefix)
    {
        var memory = Memory(prefix.BlockCount, Layout.BlockBytes);
        Assert.Equal(
            new LoadResult(prefix.BlockCount, MissReason.None), await _cache.LoadAsync(prefix, 0, memory, cancellationToken: Token));
        AssertRight(prefix, memory);
    }

    private async Task AssertFoundAsync(int[] blocks, params KvPrefix[] prefixes)
    {
        var found = new List<int>();
        foreach (var prefix in prefixes)
            found.Add((await _cache.MatchAsync(prefix, default, Token)).Blocks);
        Assert.Equal(blocks, found);
    }

    private static void AssertRight(KvPrefix prefix, Memory<byte>[] memory)
    {
        for (var i = 0; i < memory.Length; i++)
            Assert.True(BlockOf(prefix, i).AsSpan().SequenceEqual(memory[i].Span), $"Block {i} has wrong bytes.");
    }

    private static ReadOnlyMemory<byte>[] Blocks(KvPrefix prefix) =>
        [.. Enumerable.Range(0, prefix.BlockCount).Select(block => (ReadOnlyMemory<byte>)BlockOf(prefix, block))];

    private static Memory<byte>[] Memory(int blocks, int bytes) =>
        [.. Enumerable.Range(0, blocks).Select(_ => (Memory<byte>)new byte[bytes])];

    // Bytes that no other block has.
    private static byte[] BlockOf(KvPrefix prefix, int block)
    {
        var bytes = new byte[Layout.BlockBytes];
        new Random(HashCode.Combine(prefix.Namespace.Id, prefix.Chain.Hashes[block])).NextBytes(bytes);
        return bytes;
    }
}
