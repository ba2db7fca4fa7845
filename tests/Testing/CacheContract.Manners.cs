namespace KvCache.Testing;

/// <content>Misuse, cancellation, the end of a cache, and what it says of itself.</content>
public abstract partial class CacheContract
{
    /// <summary>Each line of the table of docs/client.md is tried, and each of what is tried is a line there.</summary>
    [Fact]
    public async Task Misuse_is_told_as_the_table_says()
    {
        var told = new List<string>();
        foreach (var (misuse, calls) in Misuses(New(3)))
        {
            foreach (var call in calls)
            {
                var error = Assert.IsAssignableFrom<ArgumentException>(await Record.ExceptionAsync(call));
                told.Add($"| {misuse} | `{error.GetType().Name}` | `{error.ParamName}` |");
            }
        }

        var table = (await File.ReadAllLinesAsync(Path.Combine(Repository.Root, "docs", "client.md"), Token))
            .Where(line => line.Contains("Exception` | `", StringComparison.Ordinal));
        Assert.Equal(table, told.Distinct());
    }

    [Fact]
    public async Task A_cancelled_call_does_nothing_and_says_so()
    {
        var prefix = New(2);
        await StoreAsync(prefix);
        foreach (var (name, call) in Calls(_cache, prefix, New(1)))
        {
            var error = await Record.ExceptionAsync(() => call(new CancellationToken(canceled: true)));
            Assert.True(error is OperationCanceledException, $"{name}: {error}");
        }

        await AssertLoadsAsync(prefix);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_cache_that_is_disposed_says_so(bool waits)
    {
        var cache = Create();
        var prefix = New(2);
        await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
        for (var i = 0; i < 2; i++)
        {
            if (waits)
                await cache.DisposeAsync();
            else
                cache.Dispose();
        }

        foreach (var (name, call) in Calls(cache, prefix, New(1)))
        {
            var error = await Record.ExceptionAsync(() => call(Token));
            Assert.True(error is ObjectDisposedException, $"{name}: {error}");
        }
    }

    [Fact]
    public async Task Calls_that_a_cache_ends_under_are_misses()
    {
        var cache = Create();
        var prefix = New(8);
        await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
        var rounds = 0;
        var calls = Enumerable.Range(0, 4).Select(_ => Task.Run(CallAsync, Token)).ToArray();
        await Eventually.TrueAsync("calls are under way", () => Volatile.Read(ref rounds) > 20);
        await cache.DisposeAsync();
        await Task.WhenAll(calls).WaitAsync(Eventually.Bound, Token);

        async Task CallAsync()
        {
            var memory = Memory(8, Layout.BlockBytes);
            try
            {
                while (true)
                {
                    await using (await cache.MatchAsync(prefix, Minute, Token))
                    {
                        var loaded = await cache.LoadAsync(prefix, 0, memory, cancellationToken: Token);
                        AssertRight(prefix, memory[..loaded.Blocks]);
                    }

                    await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
                    await cache.LoadLayersAsync(prefix, 0, memory, cancellationToken: Token).CountAsync(Token);
                    Interlocked.Increment(ref rounds);
                }
            }
            catch (ObjectDisposedException)
            {
                // The next call is told.
            }
        }
    }

    [Fact]
    public async Task Statistics_count_from_zero_or_from_a_reset_and_are_a_line_to_read()
    {
        var prefix = New(3);
        await _cache.StoreAsync(prefix, 0, Blocks(prefix)[..1], null, Token);
        await _cache.LoadAsync(prefix, 0, Memory(3, Layout.BlockBytes), cancellationToken: Token);
        await _cache.MatchAsync(prefix, default, Token);
        var statistics = await _cache.GetStatisticsAsync(Token);
        Assert.Equal(
            (1, 1, Layout.BlockBytes, Layout.BlockBytes, Layout.TokensPerBlock),
            (statistics.Hits, statistics.Stored, statistics.LoadedBytes, statistics.StoredBytes, statistics.LoadedTokens));
        Assert.Equal(2 + 2, statistics.Misses[MissReason.Absent]); // of the load, and of the match
        Assert.Equal((1, 1, 1), (statistics.Match.Count, statistics.Load.Count, statistics.Store.Count));
        Assert.Equal(1.0 / 5, statistics.HitRate);
        Assert.InRange(statistics.Load.P50, TimeSpan.FromTicks(1), statistics.Load.Max);
        Assert.InRange(statistics.Load.Average, TimeSpan.FromTicks(1), statistics.Load.Max);
        Assert.Equal(
            TimeSpan.FromSeconds(4) - statistics.Match.Total - statistics.Load.Total, statistics.TimeSaved(prefillTokensPerSecond: 1));
        Assert.StartsWith("1 hits of 5 blocks (20.0 %), 4 Absent; loaded ", statistics.ToString(), StringComparison.Ordinal);

        _cache.ResetStatistics();
        statistics = await _cache.GetStatisticsAsync(Token);
        Assert.Equal((0, 0, 0, 0), (statistics.Hits, statistics.Stored, statistics.Misses.Values.Sum(), statistics.Load.Count));
    }

    [Fact]
    public async Task A_load_by_layers_begins_with_its_first_layer()
    {
        var cache = Create();
        var prefix = New(1);
        await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
        var layers = cache.LoadLayersAsync(prefix, 0, Memory(1, Layout.BlockBytes), cancellationToken: Token);
        await cache.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await layers.CountAsync(Token));
    }

    [Fact]
    public async Task It_is_well()
    {
        var health = await _cache.GetHealthAsync(Token);
        Assert.Equal((true, null), (health.IsAvailable, health.Problem));
    }

    private (string Misuse, Func<Task>[] Calls)[] Misuses(KvPrefix prefix)
    {
        var memory = Memory(2, Layout.BlockBytes);
        var group = new RankGroup(_ns);
        var another = KvPrefix.Of(_ns with { Layout = KvLayout.Opaque(8, tokensPerBlock: 8) }, new int[16]).Chain;
        var less = TimeSpan.FromTicks(-1);
        var tooLong = new string('m', CacheNamespace.MaxTextBytes + 1);
        return
        [
            ("a prefix that is null, in any call", CallsWith(null!)),
            ("a namespace with a field that cannot be, in any call", CallsWith(new KvPrefix(_ns with { Model = tooLong }, prefix.Chain))),
            ("a prefix whose chain has blocks of another size than its namespace",
                CallsWith(new KvPrefix(_ns with { Layout = KvLayout.Opaque(8, tokensPerBlock: 8) }, prefix.Chain))),
            ("a group that is null", [Call(() => _cache.MatchAsync(null!, prefix.Chain, default, Token))]),
            ("a chain that is null", [Call(() => _cache.MatchAsync(group, null!, default, Token))]),
            ("a chain with blocks of another size than the group's", [Call(() => _cache.MatchAsync(group, another, default, Token))]),
            ("a hold shorter than zero",
                [Call(() => _cache.MatchAsync(prefix, less, Token)), Call(() => _cache.MatchAsync(group, prefix.Chain, less, Token))]),
            ("destinations that are null", Loads(0, null!)),
            ("blocks to load that the prefix does not have", [.. Loads(2, memory), .. Loads(-1, memory), .. Loads(int.MaxValue, memory)]),
            ("memory of another size than the layers have", [.. Loads(0, Memory(2, 1)), .. Loads(0, memory, new LayerRange(0, 1))]),
            ("layers that a block does not have", Loads(0, memory, new LayerRange(2, 2))),
            ("blocks to store that are null", Stores(0, null!)),
            ("blocks to store that the prefix does not have", [.. Stores(1, Blocks(prefix)), .. Stores(-1, Blocks(prefix))]),
            ("bytes of another size than a block has", Stores(0, [new byte[1]])),
            ("less than 1 replica, or more than 16",
                [
                    .. Stores(0, Blocks(prefix), new StoreOptions(Replicas: 0)),
                    .. Stores(0, Blocks(prefix), new StoreOptions(Replicas: 17)),
                ]),
            ("a durability that is none, or fewer tokens than zero",
                [
                    .. Stores(0, Blocks(prefix), new StoreOptions(Durability: (Durability)7)),
                    .. Stores(0, Blocks(prefix), new StoreOptions(SuffixTokens: -1)),
                ]),
            ("a life of zero or less, in a store",
                [.. Stores(0, Blocks(prefix), new StoreOptions(TimeSpan.Zero)), .. Stores(0, Blocks(prefix), new StoreOptions(less))]),
            ("layers to store of which nothing says when they are ready",
                [Call(() => _cache.StoreLayersAsync(prefix, 0, Blocks(prefix), null!, null, Token))]),
            ("a life of zero or less, in `ExpireAsync`",
                [Call(() => _cache.ExpireAsync(prefix, TimeSpan.Zero, Token)), Call(() => _cache.ExpireAsync(prefix, less, Token))]),
            ("a pin shorter than zero", [Call(() => _cache.PinAsync(prefix, less, Token))]),
            ("a hint that is null", [Call(async () => await _cache.HintAsync(prefix, null!, Token))]),
            ("a namespace that is null", [Call(() => _cache.ClearAsync(null!, Token))]),
            ("a namespace with a field that cannot be", [Call(() => _cache.ClearAsync(_ns with { Model = tooLong }, Token))]),
        ];

        Func<Task>[] CallsWith(KvPrefix given) =>
        [
            .. Calls(_cache, given, given).Where(call => !call.Name.StartsWith("Get", StringComparison.Ordinal))
                .Select(call => (Func<Task>)(() => call.Run(Token))),
        ];

        Func<Task>[] Loads(int first, Memory<byte>[] destinations, LayerRange? layers = null) =>
        [
            Call(() => _cache.LoadAsync(prefix, first, destinations, layers, null, Token)),
            Call(() => _ = _cache.LoadLayersAsync(prefix, first, destinations, layers, null, Token)), // at once, not by the first layer
            Call(() => _ = _cache.FollowLayersAsync(prefix, first, destinations, layers, Token)),
        ];

        Func<Task>[] Stores(int first, ReadOnlyMemory<byte>[] blocks, StoreOptions? options = null) =>
        [
            Call(() => _cache.StoreAsync(prefix, first, blocks, options, Token)),
            Call(() => _cache.StoreLayersAsync(prefix, first, blocks, AsyncEnumerable.Empty<int>(), options, Token)),
        ];
    }

    // Every call of a cache. What it stores is told from what it finds, as a cancelled call must not have stored.
    private static (string Name, Func<CancellationToken, Task> Run)[] Calls(IKvCache cache, KvPrefix prefix, KvPrefix fresh)
    {
        var memory = Memory(1, Layout.BlockBytes);
        ReadOnlyMemory<byte>[] blocks = [new byte[Layout.BlockBytes]];
        return
        [
            ("MatchAsync", async token => await cache.MatchAsync(prefix, default, token)),
            ("LoadAsync", async token => await cache.LoadAsync(prefix, 0, memory, cancellationToken: token)),
            ("LoadLayersAsync", async token => await cache.LoadLayersAsync(prefix, 0, memory, cancellationToken: token).CountAsync(Token)),
            ("FollowLayersAsync",
                async token => await cache.FollowLayersAsync(prefix, 0, memory, cancellationToken: token).CountAsync(Token)),
            ("StoreAsync", async token => await cache.StoreAsync(fresh, 0, blocks, null, token)),
            ("StoreLayersAsync",
                async token => await cache.StoreLayersAsync(fresh, 0, blocks, new[] { 0, 1, 2 }.ToAsyncEnumerable(), null, token)),
            ("PinAsync", async token => await cache.PinAsync(prefix, Minute, token)),
            ("ExpireAsync", async token => await cache.ExpireAsync(prefix, Minute, token)),
            ("HintAsync", async token => await cache.HintAsync(prefix, new CacheHint(), token)),
            ("DeleteAsync", async token => await cache.DeleteAsync(prefix, token)),
            ("GetStatisticsAsync", async token => await cache.GetStatisticsAsync(token)),
            ("GetHealthAsync", async token => await cache.GetHealthAsync(token)),
        ];
    }

    private static Func<Task> Call<T>(Func<ValueTask<T>> call) => async () => await call();

    private static Func<Task> Call(Func<Task> call) => call;

    private static Func<Task> Call(Action call) => () =>
    {
        call();
        return Task.CompletedTask;
    };
}
