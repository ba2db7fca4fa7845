using System.Buffers;
using System.Diagnostics;
using KvCache.Caching;
using KvCache.Client.Caching;
using KvCache.Client.Cluster;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace KvCache.Redis;

/// <summary>
/// A cache in a plain Redis, without any silo: for those who have just that, and as the far cache of a <c>TieredKvCache</c>. Each block is
/// a value with a life. Thread-safe; one instance serves a whole process.
/// </summary>
/// <remarks>
/// <para>
/// What Redis cannot do, this cannot: nothing is kept from eviction for a match (<see cref="CacheMatch.Held"/> is false), pins answer 0,
/// nothing is followed while it is written, and replicas are Redis' own. A block is immutable; one that is there already is not written
/// again, but gets the new life.
/// </para>
/// <para>
/// Everybody who reaches Redis reads every tenant's blocks: where tenants do not trust each other, that takes silos.
/// </para>
/// </remarks>
public sealed partial class RedisKvCache : IKvCache
{
    private const int KeysAtOnce = 512;

    private static readonly TimeSpan LongestLife = TimeSpan.FromDays(1_000_000); // the library takes the longest one for none at all

    private readonly RedisKvCacheOptions _options;
    private readonly CacheMeter _meter = new("redis");
    private readonly Lazy<Task<IConnectionMultiplexer>> _connecting;
    private readonly string _where;
    private readonly bool _ownsConnection;
    private volatile bool _disposed;
    private int _hasAsked;

    /// <summary>Creates a cache with a connection of its own, which is made by the first call.</summary>
    /// <param name="options">Settings; not changed afterwards.</param>
    /// <exception cref="OptionsValidationException">A setting is out of its bounds.</exception>
    public RedisKvCache(RedisKvCacheOptions options)
        : this(options, () => ConnectAsync(options.Configuration), null)
    {
    }

    /// <summary>Creates a cache over a connection of the application, which stays the application's.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="options">Settings; not changed afterwards; null for the defaults.</param>
    /// <exception cref="OptionsValidationException">A setting is out of its bounds.</exception>
    public RedisKvCache(IConnectionMultiplexer connection, RedisKvCacheOptions? options = null)
        : this(options ?? new RedisKvCacheOptions(), () => Task.FromResult(connection), Given(connection))
    {
    }

    private RedisKvCache(RedisKvCacheOptions options, Func<Task<IConnectionMultiplexer>> connect, IConnectionMultiplexer? given)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Validate() is { Count: > 0 } problems)
            throw new OptionsValidationException(Microsoft.Extensions.Options.Options.DefaultName, typeof(RedisKvCacheOptions), problems);
        _options = options;
        _connecting = new Lazy<Task<IConnectionMultiplexer>>(() => Seen(connect()));
        _ownsConnection = given is null;
        _where = string.Join(", ", (given?.GetEndPoints() ?? [.. ConfigurationOptions.Parse(options.Configuration).EndPoints])
            .Select(EndPointCollection.ToString));
    }

    /// <summary>The latest failure in words, whenever that was; null when there was none.</summary>
    public string? LastError { get; private set; }

    /// <inheritdoc/>
    public CacheCapabilities Capabilities => CacheCapabilities.Durability | CacheCapabilities.Shared;

    /// <summary>Asks Redis for an answer.</summary>
    /// <inheritdoc/>
    public async ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default)
    {
        var began = Stopwatch.GetTimestamp();
        var (_, reason, error) = await AskAsync(
            _options.MatchTimeout, default(TimeSpan), (database, token) => database.PingAsync().WaitAsync(token), cancellationToken)
            .ConfigureAwait(false);
        return new CacheHealth(reason == MissReason.None, Stopwatch.GetElapsedTime(began), error);
    }

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(prefix, hold);
        return MatchAsync(new RankGroup(prefix.Namespace), prefix.Chain, hold, cancellationToken);
    }

    /// <inheritdoc/>
    /// <remarks>Nothing is held.</remarks>
    public async ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(group, chain, hold);
        var began = Stopwatch.GetTimestamp();
        var namespaces = group.Namespaces.ToArray();
        var (found, reason, error) = await AskAsync(
            _options.MatchTimeout,
            0,
            async (database, token) =>
            {
                var count = chain.BlockCount;
                foreach (var ns in namespaces)
                    count = await CountAsync(database, PrefixOf(ns), chain.HashMemory[..count], token).ConfigureAwait(false);
                return count;
            },
            cancellationToken).ConfigureAwait(false);
        if (reason == MissReason.None && found < chain.BlockCount)
            reason = MissReason.Absent;
        _meter.Matched(found, chain.BlockCount, reason, began, error);
        return new CacheMatch(found, chain.TokensPerBlock, reason) { Error = error };
    }

    /// <inheritdoc/>
    /// <remarks>Some layers are taken out of the whole block, which Redis sends as it is stored.</remarks>
    public async ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        Check(cancellationToken);
        if (destinations.Count == 0)
            return default;
        var began = Stopwatch.GetTimestamp();
        var loaded = 0;
        var (missed, reason, error) = await AskAsync(
            _options.LoadTimeout,
            MissReason.None,
            async (database, token) =>
            {
                foreach (var (first, count) in RequestPieces.Of(0, destinations.Count, AtOnce(prefix.Namespace)))
                {
                    var values = new Task<Lease<byte>?>[count];
                    for (var i = 0; i < count; i++)
                        values[i] = database.StringGetLeaseAsync(KeyOf(prefix, firstBlock + first + i));
                    try
                    {
                        for (var i = 0; i < count; i++)
                        {
                            using var value = await OrNothingAsync(values[i], token).ConfigureAwait(false);
                            values[i] = Task.FromResult<Lease<byte>?>(null);
                            if (value is null)
                                return MissReason.Absent;
                            if (!TryCopy(value.Span, prefix, firstBlock + loaded, range, destinations[loaded].Span))
                            {
                                await DropAsync(database, KeyOf(prefix, firstBlock + loaded), token).ConfigureAwait(false);
                                return MissReason.Corrupt;
                            }

                            loaded++;
                        }
                    }
                    finally
                    {
                        foreach (var value in values)
                            _ = value.ContinueWith(
                                static late => late.Result?.Dispose(), CancellationToken.None,
                                TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
                    }
                }

                return MissReason.None;
            },
            cancellationToken).ConfigureAwait(false);
        if (reason == MissReason.None && missed == MissReason.Corrupt)
            error = LastError = $"Redis at {_where}: what is stored as a block is none, or is damaged";
        var result = new LoadResult(loaded, reason == MissReason.None ? missed : reason) { Error = error };
        _meter.Loaded(result, destinations.Count, prefix.Namespace.Layout, range, began);
        return result;
    }

    /// <inheritdoc/>
    /// <remarks>What a store that takes too long has sent may still be stored.</remarks>
    public async ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new StoreOptions();
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        Check(cancellationToken);
        if (blocks.Count == 0)
            return default;
        var began = Stopwatch.GetTimestamp();
        var life = options.TimeToLive ?? _options.DefaultTimeToLive;
        var result = default(StoreResult);
        var (_, reason, error) = await AskAsync(
            _options.StoreTimeout,
            0,
            async (database, token) =>
            {
                foreach (var (first, count) in RequestPieces.Of(0, blocks.Count, AtOnce(prefix.Namespace)))
                {
                    token.ThrowIfCancellationRequested();
                    var outcomes = new Task<bool>[count];
                    for (var i = 0; i < count; i++)
                        outcomes[i] = Seen(StoreAsync(database, prefix, firstBlock + first + i, blocks[first + i], life));
                    for (var i = 0; i < count; i++)
                    {
                        var stored = await outcomes[i].WaitAsync(token).ConfigureAwait(false);
                        if (!stored && options is { TimeToLive: { } asked, RefreshLife: true })
                            await database.KeyExpireAsync(KeyOf(prefix, firstBlock + first + i), Whole(asked)).WaitAsync(token)
                                .ConfigureAwait(false);
                        result = result.With(stored ? PutOutcome.Stored : PutOutcome.AlreadyStored);
                    }
                }

                return 0;
            },
            cancellationToken).ConfigureAwait(false);
        result = result with { Reason = reason, Error = error };
        _meter.DidStore(result, blocks.Count, prefix.Namespace.Layout.BlockBytes, began);
        return result;
    }

    /// <summary>Redis keeps nothing from eviction.</summary>
    /// <returns>0.</returns>
    /// <inheritdoc/>
    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPin(prefix, duration);
        Check(cancellationToken);
        return new(0);
    }

    /// <summary>Redis has its own way to forget: hints change nothing.</summary>
    /// <inheritdoc/>
    public ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckHint(prefix, hint);
        Check(cancellationToken);
        return default;
    }

    /// <inheritdoc/>
    public async ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckExpire(prefix, timeToLive);
        return await CountKeysAsync(
            prefix,
            (database, key) => timeToLive is { } life
                ? database.KeyExpireAsync(key, Whole(life))
                : ForeverAsync(database, key),
            cancellationToken).ConfigureAwait(false) ?? 0;

        // PERSIST says nothing of a key that has no end already.
        static async Task<bool> ForeverAsync(IDatabase database, RedisKey key) =>
            await database.KeyPersistAsync(key).ConfigureAwait(false) || await database.KeyExistsAsync(key).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPrefix(prefix);
        var deleted = await CountKeysAsync(prefix, (database, key) => database.KeyDeleteAsync(key), cancellationToken)
            .ConfigureAwait(false);
        return new DeleteResult(deleted ?? 0, deleted is not null);
    }

    /// <inheritdoc/>
    /// <remarks>Looks at every key of every master. A call that takes longer than <see cref="RedisKvCacheOptions.StoreTimeout"/> has
    /// deleted a part, and says so.</remarks>
    public async ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckNamespace(ns, nameof(ns));
        var deleted = 0;
        var (_, reason, _) = await AskAsync(
            _options.StoreTimeout,
            0,
            async (database, token) =>
            {
                // A master that is away throws: what it has is not deleted.
                IServer[] masters = [.. database.Multiplexer.GetServers().Where(server => !server.IsReplica)];
                if (masters.Length == 0)
                    throw new RedisException("there is no master, and a replica deletes nothing");
                foreach (var server in masters)
                {
                    var keys = server.KeysAsync(database.Database, $"{Escape(PrefixOf(ns))}*", KeysAtOnce).WithCancellation(token);
                    await foreach (var key in keys.ConfigureAwait(false))
                        deleted += await database.KeyDeleteAsync(key).WaitAsync(token).ConfigureAwait(false) ? 1 : 0;
                }

                return 0;
            },
            cancellationToken).ConfigureAwait(false);
        return new DeleteResult(deleted, reason == MissReason.None);
    }

    /// <inheritdoc/>
    public ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        Check(cancellationToken);
        return new(_meter.Snapshot(memoryBytes: 0, LastError));
    }

    /// <inheritdoc/>
    public void ResetStatistics() => _meter.Reset();

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>Ends the connection, if it is this cache's own. Calls that are under way end with a miss.</summary>
    public async ValueTask DisposeAsync()
    {
        _disposed = true;
        if (!_ownsConnection || _connecting is not { IsValueCreated: true, Value: var connecting })
            return;
        var ending = EndAsync(connecting);
        if (connecting.IsCompleted)
            await ending.ConfigureAwait(false); // else it ends as soon as it is made

        static async Task EndAsync(Task<IConnectionMultiplexer> connecting)
        {
            try
            {
                var connection = await connecting.ConfigureAwait(false);
                await connection.CloseAsync(allowCommandsToComplete: false).ConfigureAwait(false);
                await connection.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is RedisException or RedisCommandException or ObjectDisposedException)
            {
                // It was never there.
            }
        }
    }

    private static async Task<int> CountAsync(
        IDatabase database, string prefix, ReadOnlyMemory<BlockHash> hashes, CancellationToken cancellationToken)
    {
        var found = 0;
        while (found < hashes.Length)
        {
            var count = Math.Min(KeysAtOnce, hashes.Length - found);
            var exist = new Task<bool>[count];
            for (var i = 0; i < count; i++)
                exist[i] = database.KeyExistsAsync(prefix + hashes.Span[found + i]);
            var all = await Seen(Task.WhenAll(exist)).WaitAsync(cancellationToken).ConfigureAwait(false);
            var missing = Array.IndexOf(all, false);
            if (missing >= 0)
                return found + missing;
            found += count;
        }

        return found;
    }

    private static string Escape(string key) =>
        string.Concat(key.Select(character => character is '*' or '?' or '[' or ']' or '\\' or '^' ? $"\\{character}" : $"{character}"));

    private static bool TryCopy(ReadOnlySpan<byte> value, KvPrefix prefix, int block, LayerRange range, Span<byte> destination)
    {
        var (ns, hash) = (prefix.Namespace, prefix.Chain.Hashes[block]);
        if (range == ns.Layout.AllLayers)
            return BlockValue.TryDecode(value, ns, hash, destination);
        var whole = ArrayPool<byte>.Shared.Rent(ns.Layout.BlockBytes);
        try
        {
            if (!BlockValue.TryDecode(value, ns, hash, whole.AsSpan(0, ns.Layout.BlockBytes)))
                return false;
            whole.AsSpan(ns.Layout.LayerOffset(range.First), destination.Length).CopyTo(destination);
            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(whole);
        }
    }

    // The library reads the memory until the command has ended, whoever still waits for it: so it is a copy.
    private async Task<bool> StoreAsync(IDatabase database, KvPrefix prefix, int block, ReadOnlyMemory<byte> bytes, TimeSpan? life)
    {
        var value = BlockValue.Encode(
            bytes.Span, prefix.Namespace, prefix.Chain.Hashes[block], _options.Encoding, out var length);
        try
        {
            return await database.StringSetAsync(
                KeyOf(prefix, block), value.AsMemory(0, length), life is { } limited ? Whole(limited) : null, When.NotExists)
                .ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(value);
        }
    }

    private async ValueTask<int?> CountKeysAsync(
        KvPrefix prefix, Func<IDatabase, RedisKey, Task<bool>> call, CancellationToken cancellationToken)
    {
        var count = 0;
        var (_, reason, _) = await AskAsync(
            _options.StoreTimeout,
            0,
            async (database, token) =>
            {
                foreach (var (first, blocks) in RequestPieces.Of(0, prefix.BlockCount, KeysAtOnce))
                {
                    var calls = Enumerable.Range(first, blocks).Select(block => call(database, KeyOf(prefix, block)));
                    var done = await Seen(Task.WhenAll(calls)).WaitAsync(token).ConfigureAwait(false);
                    count += done.Count(was => was);
                }

                return 0;
            },
            cancellationToken).ConfigureAwait(false);
        return reason == MissReason.None ? count : null;
    }

    private void Check(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        cancellationToken.ThrowIfCancellationRequested();
    }

    private static TimeSpan Whole(TimeSpan life) =>
        life < LongestLife ? TimeSpan.FromMilliseconds(Math.Ceiling(life.TotalMilliseconds)) : LongestLife;

    private static IConnectionMultiplexer Given(IConnectionMultiplexer connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return connection;
    }

    private int AtOnce(CacheNamespace ns) => (int)Math.Clamp(_options.MaxBytesOnTheWay.Bytes / ns.Layout.BlockBytes, 1, KeysAtOnce);

    private RedisKey KeyOf(KvPrefix prefix, int block) => PrefixOf(prefix.Namespace) + prefix.Chain.Hashes[block];

    // A narrowed block is not what somebody else stored.
    private string PrefixOf(CacheNamespace ns)
    {
        var elements = BlockValue.Fitting(_options.Encoding, ns.Layout.DataType).Elements;
        return $"{_options.KeyPrefix}:{ns.Id}{(elements == ElementEncoding.Raw ? "" : $".{elements.ToString().ToLowerInvariant()}")}:";
    }
}
