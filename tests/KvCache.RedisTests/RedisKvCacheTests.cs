using System.Text;
using KvCache.Client;
using KvCache.Redis;
using KvCache.Testing;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace KvCache.RedisTests;

/// <summary>The cache over a plain Redis.</summary>
public sealed class RedisKvCacheTests : IAsyncLifetime
{
    private const int Tokens = 16;

    private static readonly CacheNamespace Ns = new()
    {
        Tenant = "acme",
        Model = "tiny",
        Layout = KvLayout.Create(3, 2, 8, KvDataType.Float32, Tokens),
    };

    private RedisProcess _redis = null!;
    private RedisKvCache _cache = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        _redis = RedisProcess.Start();
        _cache = New();
        return default;
    }

    public async ValueTask DisposeAsync()
    {
        await _cache.DisposeAsync();
        _redis.Dispose();
    }

    [Fact]
    public async Task What_was_stored_is_found_and_comes_back_layer_by_layer_too()
    {
        var prefix = PrefixOf(Ns, 5);
        Assert.Equal((0, MissReason.Absent), await MatchAsync(_cache, prefix));
        Assert.Equal(new StoreResult(5, 0, 0, MissReason.None, null), await StoreAsync(_cache, prefix));
        Assert.Equal(new StoreResult(0, 5, 0, MissReason.None, null), await StoreAsync(_cache, prefix));

        Assert.Equal((5, MissReason.None), await MatchAsync(_cache, prefix));
        await AssertLoadsAsync(_cache, prefix, 5);
        var range = new LayerRange(1, 2);
        var memory = Memory(3, Ns.Layout.RangeBytes(range));
        Assert.Equal(new LoadResult(3, MissReason.None), await _cache.LoadAsync(prefix, 2, memory, range, cancellationToken: Token));
        for (var i = 0; i < 3; i++)
            Assert.True(BlockOf(prefix, 2 + i).AsSpan(Ns.Layout.LayerOffset(1)).SequenceEqual(memory[i].Span));

        var layers = new List<LoadedLayer>();
        IKvCache cache = _cache;
        await foreach (var layer in cache.LoadLayersAsync(prefix, 0, Memory(5, Ns.Layout.BlockBytes), cancellationToken: Token))
            layers.Add(layer);
        Assert.Equal([new(0, 5, MissReason.None), new(1, 5, MissReason.None), new(2, 5, MissReason.None)], layers);
    }

    [Fact]
    public async Task A_gap_ends_what_is_found_and_loaded()
    {
        var prefix = PrefixOf(Ns, 6);
        await _cache.StoreAsync(prefix, 0, Blocks(prefix)[..2], cancellationToken: Token);
        await _cache.StoreAsync(prefix, 3, Blocks(prefix)[3..], cancellationToken: Token);
        Assert.Equal((2, MissReason.Absent), await MatchAsync(_cache, prefix));
        Assert.Equal(
            new LoadResult(2, MissReason.Absent),
            await _cache.LoadAsync(prefix, 0, Memory(6, Ns.Layout.BlockBytes), cancellationToken: Token));
        Assert.Equal(
            new LoadResult(3, MissReason.None),
            await _cache.LoadAsync(prefix, 3, Memory(3, Ns.Layout.BlockBytes), cancellationToken: Token));
    }

    [Fact]
    public async Task More_blocks_than_one_question_takes_come_in_pieces()
    {
        await using var cache = New(options => options.MaxBytesOnTheWay = new ByteSize(3 * Ns.Layout.BlockBytes));
        var prefix = PrefixOf(Ns, 1100);
        Assert.Equal(1100, (await StoreAsync(cache, prefix)).Stored);
        Assert.Equal((1100, MissReason.None), await MatchAsync(cache, prefix));
        await AssertLoadsAsync(cache, prefix, 1100);
        Assert.Equal(new DeleteResult(1100, true), await cache.DeleteAsync(prefix, Token));
    }

    [Theory]
    [InlineData(TensorCompression.None)]
    [InlineData(TensorCompression.Zstd)]
    [InlineData(TensorCompression.FloatPlanes)]
    public async Task Narrowed_and_compressed_blocks_come_back_as_near_as_they_can_and_are_nobody_elses(TensorCompression compression)
    {
        await using var narrow = New(options => options.Encoding = new TensorEncoding(ElementEncoding.Float16, compression));
        var prefix = PrefixOf(Ns, 2);
        Assert.Equal(2, (await StoreAsync(narrow, prefix)).Stored);

        Assert.Equal((0, MissReason.Absent), await MatchAsync(_cache, prefix)); // who wants the bytes as they were does not get others
        var memory = Memory(2, Ns.Layout.BlockBytes);
        Assert.Equal(new LoadResult(2, MissReason.None), await narrow.LoadAsync(prefix, 0, memory, cancellationToken: Token));
        for (var i = 0; i < 2; i++)
        {
            var (expected, actual) = (Floats(BlockOf(prefix, i)), Floats(memory[i].Span));
            for (var j = 0; j < expected.Length; j++)
                Assert.Equal((float)(Half)expected[j], actual[j]);
        }
    }

    [Fact]
    public async Task An_engines_own_bytes_stay_as_they_are()
    {
        await using var cache = New(
            options => options.Encoding = new TensorEncoding(ElementEncoding.Float16, TensorCompression.GZip));
        var ns = Ns with { Layout = KvLayout.Opaque([0, 100, 300], Tokens) };
        var prefix = PrefixOf(ns, 3);
        await StoreAsync(cache, prefix);
        await AssertLoadsAsync(cache, prefix, 3);
        Assert.Equal((3, MissReason.None), await MatchAsync(_cache, prefix)); // nothing was lost: everybody may read it
    }

    [Fact]
    public async Task Lives_end_are_set_and_given_anew()
    {
        var prefix = PrefixOf(Ns, 2);
        await StoreAsync(_cache, prefix);
        Assert.InRange(Life(prefix), TimeSpan.FromHours(23), TimeSpan.FromDays(1));
        await StoreAsync(_cache, prefix, new StoreOptions(TimeToLive: TimeSpan.FromHours(3)));
        Assert.InRange(Life(prefix), TimeSpan.FromHours(2), TimeSpan.FromHours(3));
        await StoreAsync(_cache, prefix, new StoreOptions(TimeToLive: TimeSpan.FromHours(9), RefreshLife: false));
        Assert.InRange(Life(prefix), TimeSpan.FromHours(2), TimeSpan.FromHours(3));

        Assert.Equal(2, await _cache.ExpireAsync(prefix, null, Token));
        Assert.Equal(":-1", _redis.Command("PTTL", KeyOf(prefix)));
        Assert.Equal(2, await _cache.ExpireAsync(prefix, null, Token));
        Assert.Equal(2, await _cache.ExpireAsync(prefix, TimeSpan.FromMilliseconds(50), Token));
        await Eventually.TrueAsync("the blocks have gone", async () => (await MatchAsync(_cache, prefix)).Blocks == 0);
        Assert.Equal(0, await _cache.ExpireAsync(prefix, TimeSpan.FromHours(1), Token));
        Assert.Equal(0, await _cache.PinAsync(prefix, TimeSpan.FromHours(1), Token));
    }

    [Theory]
    [InlineData("short")]
    [InlineData("bit")]
    [InlineData("foreign")]
    [InlineData("nonsense")]
    [InlineData("list")]
    public async Task What_is_no_block_is_a_miss_and_deleted(string damage)
    {
        var prefix = PrefixOf(Ns, 3);
        await StoreAsync(_cache, prefix);
        await using (var redis = await ConnectionMultiplexer.ConnectAsync(_redis.Tcp))
        {
            var database = redis.GetDatabase();
            var value = (byte[])(await database.StringGetAsync(KeyOf(prefix, 1)))!;
            value[^5] ^= (byte)(damage == "bit" ? 1 : 0);
            RedisValue now = damage switch
            {
                "short" => value[..^1],
                "bit" => value,
                "foreign" => await database.StringGetAsync(KeyOf(prefix, 2)),
                _ => "nonsense",
            };
            if (damage == "list")
            {
                await database.KeyDeleteAsync(KeyOf(prefix, 1));
                await database.ListLeftPushAsync(KeyOf(prefix, 1), now);
            }
            else
            {
                await database.StringSetAsync(KeyOf(prefix, 1), now);
            }
        }

        var loaded = await _cache.LoadAsync(prefix, 0, Memory(3, Ns.Layout.BlockBytes), cancellationToken: Token);
        Assert.Equal(new LoadResult(1, MissReason.Corrupt), loaded);
        Assert.Equal($"Redis at {_redis.Tcp}: what is stored as a block is none, or is damaged", loaded.Error);
        Assert.Equal((1, MissReason.Absent), await MatchAsync(_cache, prefix));
        Assert.Equal(1, (await StoreAsync(_cache, prefix)).Stored);
        await AssertLoadsAsync(_cache, prefix, 3);
    }

    [Fact]
    public async Task A_namespace_is_cleared_and_no_other()
    {
        KvPrefix prefix = PrefixOf(Ns, 700), other = PrefixOf(Ns with { Model = "other" }, 3);
        await StoreAsync(_cache, prefix);
        await StoreAsync(_cache, other);
        Assert.Equal(new DeleteResult(700, true), await _cache.ClearAsync(Ns, Token));
        Assert.Equal((0, MissReason.Absent), await MatchAsync(_cache, prefix));
        Assert.Equal((3, MissReason.None), await MatchAsync(_cache, other));
        Assert.Equal(new DeleteResult(0, true), await _cache.ClearAsync(Ns, Token));
    }

    [Fact]
    public async Task A_redis_that_is_gone_is_a_miss_and_one_that_is_back_is_used()
    {
        var prefix = PrefixOf(Ns, 2);
        await StoreAsync(_cache, prefix);
        Assert.True((await _cache.GetHealthAsync(Token)).IsAvailable);
        _redis.Freeze();
        Assert.Equal((0, MissReason.Deadline), await MatchAsync(_cache, prefix));
        var health = await _cache.GetHealthAsync(Token);
        Assert.False(health.IsAvailable);
        Assert.Equal($"Redis at {_redis.Tcp} has not answered within 250 ms", health.Problem); // the connection would wait for seconds
        _redis.Thaw();
        await Eventually.TrueAsync("the blocks are found again", async () => (await MatchAsync(_cache, prefix)).Blocks == 2);

        _redis.Kill();
        await Eventually.TrueAsync(
            "the loss is known", async () => (await MatchAsync(_cache, prefix)).Reason == MissReason.Unavailable);
        var stored = await StoreAsync(_cache, prefix);
        Assert.Equal(MissReason.Unavailable, stored.Reason);
        Assert.Equal($"Redis at {_redis.Tcp}: No connection", stored.Error); // and not what the library says of its threads
        Assert.Equal(
            new LoadResult(0, MissReason.Unavailable),
            await _cache.LoadAsync(prefix, 0, Memory(2, Ns.Layout.BlockBytes), cancellationToken: Token));
        Assert.False((await _cache.DeleteAsync(prefix, Token)).IsConfirmed);
        Assert.False((await _cache.ClearAsync(Ns, Token)).IsConfirmed);
        Assert.Equal(0, await _cache.ExpireAsync(prefix, TimeSpan.FromHours(1), Token));
    }

    [Fact]
    public async Task A_redis_that_refuses_says_why()
    {
        var prefix = PrefixOf(Ns, 1);
        await StoreAsync(_cache, prefix);
        _redis.Command("CONFIG", "SET", "maxmemory", "1mb");
        var result = await StoreAsync(_cache, PrefixOf(Ns, 2));
        Assert.Equal((0, MissReason.Refused), (result.Stored, result.Reason));
        Assert.Contains("OOM", _cache.LastError, StringComparison.Ordinal);
        await AssertLoadsAsync(_cache, prefix, 1);
    }

    [Theory]
    [InlineData("$SET=,$UNLINK=,$DEL=,$SCAN=")]
    [InlineData("defaultDatabase=99")]
    [InlineData("serviceName=nobody")]
    public async Task What_the_library_refuses_is_a_miss(string settings)
    {
        await using var cache = New(options => options.Configuration = $"{_redis.Tcp},{settings}");
        var prefix = PrefixOf(Ns, 2);
        var stored = await StoreAsync(cache, prefix);
        Assert.Equal((0, true), (stored.Stored, stored.Reason is MissReason.Refused or MissReason.Unavailable));
        Assert.StartsWith($"Redis at {_redis.Tcp}: ", stored.Error, StringComparison.Ordinal);
        Assert.Equal(0, (await MatchAsync(cache, prefix)).Blocks);
        Assert.False((await cache.DeleteAsync(prefix, Token)).IsConfirmed);
        Assert.False((await cache.ClearAsync(Ns, Token)).IsConfirmed);
    }

    [Fact]
    public async Task A_replica_is_read_and_confirms_no_deletion()
    {
        var prefix = PrefixOf(Ns, 2);
        await StoreAsync(_cache, prefix);
        using var replica = RedisProcess.Start("--replicaof", "127.0.0.1", $"{_redis.Port}");
        await using var cache = New(options => options.Configuration = replica.Tcp);
        await Eventually.TrueAsync("the replica has the blocks", async () => (await MatchAsync(cache, prefix)).Blocks == 2);
        await AssertLoadsAsync(cache, prefix, 2);
        var stored = await StoreAsync(cache, PrefixOf(Ns, 1));
        Assert.Equal((0, MissReason.Unavailable), (stored.Stored, stored.Reason));
        Assert.Equal(0, await cache.ExpireAsync(prefix, TimeSpan.FromHours(1), Token));
        Assert.Equal(new DeleteResult(0, IsConfirmed: false), await cache.DeleteAsync(prefix, Token));
        Assert.Equal(new DeleteResult(0, IsConfirmed: false), await cache.ClearAsync(Ns, Token));
    }

    [Fact]
    public async Task What_is_damaged_is_a_miss_also_for_those_who_may_only_read()
    {
        var prefix = PrefixOf(Ns, 1);
        await StoreAsync(_cache, prefix);
        Assert.Equal("+OK", _redis.Command("SET", KeyOf(prefix), "nonsense"));
        Assert.Equal("+OK", _redis.Command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-@write"));
        await using var cache = New(options => options.Configuration = $"{_redis.Tcp},user=reader,password=any");
        Assert.Equal(
            new LoadResult(0, MissReason.Corrupt),
            await cache.LoadAsync(prefix, 0, Memory(1, Ns.Layout.BlockBytes), cancellationToken: Token));
    }

    [Fact]
    public async Task Nothing_is_left_unobserved_when_a_call_fails_at_its_first_block()
    {
        var unobserved = new List<Exception>();
        TaskScheduler.UnobservedTaskException += Note;
        try
        {
            await StoreAsync(_cache, PrefixOf(Ns, 1));
            _redis.Command("CONFIG", "SET", "maxmemory", "1mb");
            for (var i = 0; i < 20; i++)
                Assert.Equal(MissReason.Refused, (await StoreAsync(_cache, PrefixOf(Ns, 8))).Reason);
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        finally
        {
            TaskScheduler.UnobservedTaskException -= Note;
        }

        lock (unobserved)
            Assert.Empty(unobserved);

        void Note(object? sender, UnobservedTaskExceptionEventArgs args)
        {
            lock (unobserved)
                unobserved.AddRange(args.Exception.InnerExceptions.Where(e => e.Message.StartsWith("OOM", StringComparison.Ordinal)));
        }
    }

    [Theory]
    [InlineData(null, "Configuration is not understood")]
    [InlineData("", "Configuration is not understood")]
    [InlineData(",", "Configuration is ',' and names no address")]
    [InlineData("redis:port", "Configuration is 'redis:port' and names no address")]
    [InlineData("redis:6379,bogus=1", "Keyword 'bogus' is not supported")]
    public void An_address_that_cannot_be_is_told_at_once(string? configuration, string words)
    {
        var error = Assert.Throws<OptionsValidationException>(() => New(options =>
        {
            options.Configuration = configuration!;
            options.KeyPrefix = null!;
        }));
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
        Assert.Contains("KeyPrefix is empty", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task It_is_the_far_cache_of_a_tiered_one()
    {
        var prefix = PrefixOf(Ns, 3);
        await using (var tiered = new TieredKvCache(new LocalKvCache(ByteSize.MiB(1)), New()))
            Assert.Equal(3, (await StoreAsync(tiered, prefix)).Stored);
        await using (var another = new TieredKvCache(new LocalKvCache(ByteSize.MiB(1)), New()))
        {
            Assert.Equal((3, MissReason.None), await MatchAsync(another, prefix));
            await AssertLoadsAsync(another, prefix, 3);
            _redis.Kill();
            await AssertLoadsAsync(another, prefix, 3); // out of the near one now
        }
    }

    [Fact]
    public async Task What_it_has_done_is_counted()
    {
        var prefix = PrefixOf(Ns, 4);
        await MatchAsync(_cache, prefix);
        await StoreAsync(_cache, prefix);
        await AssertLoadsAsync(_cache, prefix, 4);
        var statistics = await _cache.GetStatisticsAsync(Token);
        Assert.Equal((4, 4, 4L * Ns.Layout.BlockBytes), (statistics.Hits, statistics.Stored, statistics.LoadedBytes));
        Assert.Equal((4, 0.5), (statistics.Misses[MissReason.Absent], statistics.HitRate));
    }

    [Fact]
    public async Task Misuse_is_an_exception_and_so_is_the_callers_own_cancellation()
    {
        var prefix = PrefixOf(Ns, 2);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await _cache.LoadAsync(prefix, 1, Memory(2, 1), cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await _cache.StoreAsync(prefix, 3, Blocks(prefix), cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await _cache.ExpireAsync(prefix, TimeSpan.Zero, Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await _cache.PinAsync(prefix, TimeSpan.FromSeconds(-1), Token));
        await Assert.ThrowsAsync<OperationCanceledException>(
            async () => await _cache.MatchAsync(prefix, default, new CancellationToken(true)));
        var error = Assert.Throws<OptionsValidationException>(() => New(options =>
        {
            options.KeyPrefix = "";
            options.LoadTimeout = TimeSpan.Zero;
            options.Encoding = new TensorEncoding(Level: 7);
        }));
        Assert.Equal(3, error.Failures.Count());
    }

    [Fact]
    public async Task A_cache_that_is_disposed_leaves_a_connection_that_is_not_its_own()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(_redis.Tcp);
        var cache = new RedisKvCache(connection);
        var prefix = PrefixOf(Ns, 1);
        await StoreAsync(cache, prefix);
        await cache.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => MatchAsync(cache, prefix));
        Assert.True(connection.IsConnected);
    }

    private RedisKvCache New(Action<RedisKvCacheOptions>? configure = null)
    {
        var options = new RedisKvCacheOptions { Configuration = _redis.Tcp };
        configure?.Invoke(options);
        return new RedisKvCache(options);
    }

    private TimeSpan Life(KvPrefix prefix) =>
        TimeSpan.FromMilliseconds(long.Parse(_redis.Command("PTTL", KeyOf(prefix)).AsSpan(1), provider: null));

    private static string KeyOf(KvPrefix prefix, int block = 0) => $"kvcache.blocks:{prefix.Namespace.Id}:{prefix.Chain.Hashes[block]}";

    private static async Task<(int Blocks, MissReason Reason)> MatchAsync(IKvCache cache, KvPrefix prefix)
    {
        await using var match = await cache.MatchAsync(prefix, TimeSpan.FromSeconds(1), Token);
        return (match.Blocks, match.Reason);
    }

    private static async Task<StoreResult> StoreAsync(IKvCache cache, KvPrefix prefix, StoreOptions? options = null) =>
        await cache.StoreAsync(prefix, 0, Blocks(prefix), options, Token);

    private static async Task AssertLoadsAsync(IKvCache cache, KvPrefix prefix, int blocks)
    {
        var memory = Memory(blocks, prefix.Namespace.Layout.BlockBytes);
        Assert.Equal(new LoadResult(blocks, MissReason.None), await cache.LoadAsync(prefix, 0, memory, cancellationToken: Token));
        for (var i = 0; i < blocks; i++)
            Assert.True(BlockOf(prefix, i).AsSpan().SequenceEqual(memory[i].Span), $"Block {i} has other bytes.");
    }

    private static KvPrefix PrefixOf(CacheNamespace ns, int blocks) =>
        KvPrefix.Of(ns, [.. Enumerable.Range(0, blocks * Tokens).Select(i => Random.Shared.Next(100_000))]);

    private static ReadOnlyMemory<byte>[] Blocks(KvPrefix prefix) =>
        [.. Enumerable.Range(0, prefix.BlockCount).Select(i => (ReadOnlyMemory<byte>)BlockOf(prefix, i))];

    private static Memory<byte>[] Memory(int blocks, int bytes) =>
        [.. Enumerable.Range(0, blocks).Select(_ => (Memory<byte>)new byte[bytes])];

    // Floats of a few magnitudes that no other block has.
    private static byte[] BlockOf(KvPrefix prefix, int block)
    {
        var random = new Random(prefix.Chain.Hashes[block].GetHashCode());
        var bytes = new byte[prefix.Namespace.Layout.BlockBytes];
        if (prefix.Namespace.Layout.IsOpaque)
            random.NextBytes(bytes);
        else
            foreach (ref var value in System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes.AsSpan()))
                value = (float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-8, 8)));
        return bytes;
    }

    private static float[] Floats(ReadOnlySpan<byte> bytes) =>
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes).ToArray();
}
