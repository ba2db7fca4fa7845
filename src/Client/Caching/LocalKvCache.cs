using System.Diagnostics;
using KvCache.Caching;
using KvCache.Checksums;
using KvCache.Client.Caching;
using KvCache.Engine.Storage;

namespace KvCache.Client;

/// <summary>
/// A cache in the memory of this process: the L1 in front of a silo, or the whole cache of a single engine. It has the same
/// store as a silo, with the same eviction, and never exceeds its size.
/// </summary>
public sealed partial class LocalKvCache : IKvCache
{
    private const int HeldShare = 4; // a hold keeps at most a quarter of the memory from eviction

    private static readonly TimeSpan LongestHold = TimeSpan.FromMilliseconds(uint.MaxValue - 1L); // what a timer takes: 49 days

    private readonly BlockStore _store;
    private readonly TimeProvider _time;
    private readonly CacheMeter _meter = new("local");
    private readonly Lock _lifetime = new();
    private int _users;
    private volatile bool _disposed;

    /// <summary>Creates a cache and touches its memory, which takes time: fresh memory is slow.</summary>
    /// <param name="size">Size of the block memory.</param>
    /// <param name="time">Clock for time to live, pins and holds; null for the system's.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is less than a byte.</exception>
    /// <exception cref="IOException">The host has not that much memory.</exception>
    public LocalKvCache(ByteSize size, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size.Bytes, 1, nameof(size));
        var arena = Arena.CreatePrivate(size.Bytes);
        _time = time ?? TimeProvider.System;
        _store = new BlockStore(arena, time: _time);
        try
        {
            arena.Commit();
        }
        catch
        {
            _store.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public CacheCapabilities Capabilities =>
        CacheCapabilities.Hold | CacheCapabilities.Pin | CacheCapabilities.LoadLayers | CacheCapabilities.Hints;

    /// <summary>Memory of blocks, also when it is disposed and a hold keeps some.</summary>
    internal long UsedBytes => _store.Arena.UsedBytes;

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(prefix, hold);
        return MatchAsync(new RankGroup(prefix.Namespace), prefix.Chain, hold, prefix.Hint, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        MatchAsync(group, chain, hold, hint: null, cancellationToken);

    private ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold, CacheHint? hint, CancellationToken cancellationToken)
    {
        BlockArguments.CheckMatch(group, chain, hold);
        cancellationToken.ThrowIfCancellationRequested();
        var began = Stopwatch.GetTimestamp();
        Enter();
        try
        {
            var found = chain.BlockCount;
            foreach (var ns in group.Namespaces)
                found = _store.Match(ns.Id, chain.Hashes[..found]);
            if (hint is not null)
                _store.Tell(group.Namespaces[0].Id, chain.Hashes[..found], hint, ends: false);
            using var leases = new LeaseList();
            if (hold > TimeSpan.Zero)
            {
                foreach (var ns in group.Namespaces)
                    Lease(ns, chain.Hashes[..found], request: null, leases);
            }

            var reason = found == chain.BlockCount ? MissReason.None : MissReason.Absent;
            _meter.Matched(found, chain.BlockCount, reason, began);
            return new(new CacheMatch(found, chain.TokensPerBlock, reason, leases.Count == 0 ? null : Hold(leases.HandOver(), hold)));
        }
        finally
        {
            Leave();
        }
    }

    /// <inheritdoc/>
    public ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        cancellationToken.ThrowIfCancellationRequested();
        var began = Stopwatch.GetTimestamp();
        Enter();
        try
        {
            var result = Load(prefix, firstBlock, destinations, range, cancellationToken);
            _meter.Loaded(result, destinations.Count, prefix.Namespace.Layout, range, began);
            return new(result);
        }
        finally
        {
            Leave();
        }
    }

    /// <inheritdoc/>
    public ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        cancellationToken.ThrowIfCancellationRequested();
        var began = Stopwatch.GetTimestamp();
        Enter();
        try
        {
            var result = default(StoreResult);
            var request = BeginRequest(prefix, firstBlock, blocks.Count, options ?? Defaults);
            for (var i = 0; i < blocks.Count; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                result = result.With(Store(prefix, firstBlock + i, blocks[i].Span, options, request));
            }

            _meter.DidStore(result, blocks.Count, prefix.Namespace.Layout.BlockBytes, began);
            return new(result);
        }
        finally
        {
            Leave();
        }
    }

    /// <inheritdoc/>
    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPin(prefix, duration);
        return new(CountBlocks(prefix, key => _store.Pin(key, duration), cancellationToken));
    }

    /// <inheritdoc/>
    public ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckExpire(prefix, timeToLive);
        return new(CountBlocks(prefix, key => _store.SetTimeToLive(key, timeToLive ?? TimeSpan.MaxValue), cancellationToken));
    }

    /// <inheritdoc/>
    public ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckHint(prefix, hint);
        cancellationToken.ThrowIfCancellationRequested();
        Enter();
        try
        {
            _store.Tell(prefix.Namespace.Id, prefix.Chain.Hashes, hint);
        }
        finally
        {
            Leave();
        }

        return default;
    }

    /// <inheritdoc/>
    public ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckNamespace(ns, nameof(ns));
        cancellationToken.ThrowIfCancellationRequested();
        Enter();
        try
        {
            var keys = new List<BlockKey>();
            _store.CollectOf(ns.Id, keys);
            return new(Confirmed(keys.Count(key => _store.Remove(key))));
        }
        finally
        {
            Leave();
        }
    }

    /// <inheritdoc/>
    public ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPrefix(prefix);
        return new(Confirmed(CountBlocks(prefix, key => _store.Remove(key), cancellationToken)));
    }

    /// <inheritdoc/>
    public ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new(_meter.Snapshot(UsedBytes));
    }

    /// <inheritdoc/>
    public void ResetStatistics() => _meter.Reset();

    /// <inheritdoc/>
    public ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new(new CacheHealth(IsAvailable: true, TimeSpan.Zero, Problem: null));
    }

    /// <summary>Gives the memory back when the last running call, and the last hold, has ended.</summary>
    public void Dispose()
    {
        lock (_lifetime)
        {
            if (_disposed)
                return;
            _disposed = true;
            if (_users == 0)
                _store.Dispose();
        }
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync()
    {
        Dispose();
        return default;
    }

    private static StoreOptions Defaults { get; } = new();

    private LoadResult Load(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, CancellationToken cancellationToken)
    {
        var request = BeginRequest(prefix, firstBlock, destinations.Count, options: null);
        for (var i = 0; i < destinations.Count; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            using var lease = _store.TryLease(new BlockKey(prefix.Namespace.Id, prefix.Chain.Hashes[firstBlock + i]), request);
            if (lease is null)
                return new LoadResult(i, MissReason.Absent);
            lease.Layers(range).CopyTo(destinations[i].Span);
        }

        return new LoadResult(destinations.Count, MissReason.None);
    }

    // Leases from the first block on, up to the first that is not here, or for which the leases have no bytes left.
    private void Lease(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, long? request, LeaseList leases)
    {
        foreach (var hash in hashes)
        {
            var key = new BlockKey(ns.Id, hash);
            var lease = request is { } known ? _store.TryLease(key, known) : _store.TryHold(key);
            if (lease is null || !leases.TryAdd(lease, _store.Arena.Capacity / HeldShare))
                return;
        }
    }

    private long BeginRequest(KvPrefix prefix, int first, int count, StoreOptions? options) => _store.BeginRequest(
        prefix.Namespace.Id, first == 0 ? default : prefix.Chain.Hashes[first - 1], prefix.Chain.Hashes.Slice(first, count),
        new RequestFacts(prefix.Namespace.Layout.TokensPerBlock, options?.RequestId ?? 0, options?.SuffixTokens ?? 0, prefix.Hint,
            IsPut: options is not null));

    private PutOutcome Store(KvPrefix prefix, int index, ReadOnlySpan<byte> bytes, StoreOptions? options, long request)
    {
        var key = new BlockKey(prefix.Namespace.Id, prefix.Chain.Hashes[index]);
        if (_store.Contains(key))
        {
            if (options is { TimeToLive: { } life, RefreshLife: true })
                _store.SetTimeToLive(key, life);
            return PutOutcome.AlreadyStored;
        }

        var parent = index == 0 ? default : prefix.Chain.Hashes[index - 1];
        var layout = prefix.Namespace.Layout;
        var lineage = new BlockLineage(parent, index, options?.RequestId ?? 0, options?.SuffixTokens ?? 0);
        using var write = _store.TryReserve(key, layout, lineage, request, out var refusal);
        if (write is null)
        {
            return Arena.RoundUp(layout.BlockBytes) > _store.Arena.Capacity ? PutOutcome.TooLarge
                : refusal switch
                {
                    NoRoom.Prefix => PutOutcome.NoRoomInPrefix,
                    NoRoom.Worth => PutOutcome.NotWorthRoom,
                    _ => PutOutcome.NoMemory,
                };
        }

        bytes.CopyTo(write.Bytes);
        BlockChecksum.ComputeLayers(write.Bytes, layout, write.Checksums);
        return _store.Publish(key, write.Generation, options?.TimeToLive) == PublishOutcome.Published
            ? PutOutcome.Stored
            : PutOutcome.AlreadyStored;
    }

    private static DeleteResult Confirmed(int blocks) => new(blocks, IsConfirmed: true);

    private int CountBlocks(KvPrefix prefix, Func<BlockKey, bool> call, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Enter();
        try
        {
            var count = 0;
            foreach (var hash in prefix.Chain.Hashes)
                count += call(new BlockKey(prefix.Namespace.Id, hash)) ? 1 : 0;
            return count;
        }
        finally
        {
            Leave();
        }
    }

    private Func<ValueTask> Hold(LeaseList leases, TimeSpan hold)
    {
        lock (_lifetime)
            _users++; // the memory stays while it is held
        var released = 0;
        var timer = _time.CreateTimer(_ => Release(), null, hold < LongestHold ? hold : LongestHold, Timeout.InfiniteTimeSpan);
        return () =>
        {
            Release();
            return timer.DisposeAsync();
        };

        void Release()
        {
            if (Interlocked.Exchange(ref released, 1) != 0)
                return;
            leases.Dispose();
            Leave();
        }
    }

    private void Enter()
    {
        lock (_lifetime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _users++;
        }
    }

    private void Leave()
    {
        lock (_lifetime)
        {
            if (--_users == 0 && _disposed)
                _store.Dispose();
        }
    }
}
