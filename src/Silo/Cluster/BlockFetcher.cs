using System.Collections.Concurrent;
using System.Net.Sockets;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Brings blocks into this silo's store: from its disk, from another silo, as a copy, or from Redis. However many ask for a block at the
/// same time, it is fetched once.
/// </summary>
internal sealed partial class BlockFetcher(
    BlockStore store,
    BlockDirectory directory,
    ClusterMembers members,
    RedisBlocks redis,
    RecentLives lives,
    ClusterCounters counters,
    TimeProvider time,
    IOptions<ClusterOptions> options,
    ILogger<BlockFetcher> logger,
    DiskTier? disk = null)
{
    private readonly ConcurrentDictionary<BlockKey, TaskCompletionSource> _running = Running(directory);

    /// <summary>A lease on a block, fetched when this silo does not have it. Blocks the thread.</summary>
    /// <param name="ns">Namespace of the chain.</param>
    /// <param name="hashes">The block, and behind it those that will be wanted next.</param>
    /// <param name="request">The request that wants them, as the store named it; 0 when nobody has named it.</param>
    public BlockLease? Fetch(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, long request = 0)
    {
        if (FetchHere(ns, hashes, request) is { } lease)
            return lease;
        var key = new BlockKey(ns, hashes[0]);
        var holders = directory.Index.HoldersOf(key) & ~(1UL << BlockDirectory.Self);
        foreach (var peer in members.Holders(holders))
        {
            FromPeer(peer, ns, hashes);
            if (store.TryLease(key, request) is { } copied)
                return copied;
        }

        // Another reader may have brought it between the look into the store and the look into the index.
        return (holders & BlockRun.Redis) == 0 ? store.TryLease(key, request) : redis.Fetch(ns, hashes, options.Value.ReadAhead);
    }

    /// <summary>A lease on a block that this silo has, in memory or on its disk. Blocks the thread for a read of the disk.</summary>
    /// <inheritdoc cref="Fetch"/>
    public BlockLease? FetchHere(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, long request = 0) =>
        store.TryLease(new BlockKey(ns, hashes[0]), request) ?? disk?.Fetch(ns, hashes, options.Value.ReadAhead, request);

    /// <summary>Starts to read a block into memory from below: from this silo's disk, or from Redis where nobody has it in
    /// memory.</summary>
    public void Prefetch(BlockKey key)
    {
        if (disk?.Prefetch(key) != true)
            redis.Prefetch(key);
    }

    /// <summary>Starts to read a block into memory from this silo's disk.</summary>
    public void PrefetchHere(BlockKey key) => disk?.Prefetch(key);

    /// <summary>Whether this silo has a block, in memory or on its disk.</summary>
    public bool IsHere(BlockKey key) => store.Contains(key) || disk?.CanRead(key) == true;

    /// <summary>Takes blocks from a silo, to be kept like blocks that were stored here. Does not block the caller's thread.</summary>
    /// <returns>Number of blocks that this silo has now.</returns>
    public Task<int> CopyAsync(BlockKey[] keys, SiloAddress from) => Task.Factory.StartNew(
        () =>
        {
            if (members.Find(from) is { } peer)
                FromPeer(peer, [.. keys.Where(key => !store.Contains(key))], copy: false);
            return keys.Count(store.Contains);
        },
        CancellationToken.None,
        TaskCreationOptions.LongRunning,
        TaskScheduler.Default);

    /// <summary>Sets the life of blocks on this silo, also of those that are on their way here, or from here to Redis.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="timeToLive">Their life.</param>
    /// <param name="stamp">Stamp of the change.</param>
    /// <returns>For each whether the silo has it; null when Redis, where it is on its way to, has not confirmed.</returns>
    public async Task<bool?[]> SetTimeToLiveAsync(BlockKey[] keys, TimeSpan timeToLive, ulong stamp)
    {
        var inMemory = Array.ConvertAll(keys, key => lives.Set(key, timeToLive, stamp));
        var onDisk = Array.ConvertAll(keys, key => disk?.SetLife(key, timeToLive) == true);
        var isWritten = !onDisk.Contains(true) || await Task.Run(disk!.Wait).ConfigureAwait(false);
        return await Task.WhenAll(keys.Select(AnswerAsync)).ConfigureAwait(false);

        async Task<bool?> AnswerAsync(BlockKey key, int i) =>
            (onDisk[i] && !isWritten)
            || (redis.IsUnderWay(key) && await redis.SetTimeToLiveAsync(key, timeToLive).ConfigureAwait(false) is null)
                ? null
                : inMemory[i] || onDisk[i];
    }

    /// <summary>Takes a block that is read often from afar.</summary>
    public void TakeCopy(BlockKey key)
    {
        foreach (var peer in members.Holders(directory.Index.HoldersOf(key)))
        {
            if (FromPeer(peer, [key], copy: true))
                return;
        }
    }

    // The first of the blocks, and those behind it that only the other silo has.
    private void FromPeer(PeerSilo peer, NamespaceId ns, ReadOnlySpan<BlockHash> hashes)
    {
        var keys = new List<BlockKey>();
        for (var i = 0; i < hashes.Length && i <= options.Value.ReadAhead; i++)
        {
            var key = new BlockKey(ns, hashes[i]);
            if ((directory.Index.HoldersOf(key) & (peer.Bit | (1UL << BlockDirectory.Self))) != peer.Bit)
                break;
            keys.Add(key);
        }

        FromPeer(peer, [.. keys], copy: true);
    }

    // Whether the first of the blocks is worth looking for in the store now.
    private bool FromPeer(PeerSilo peer, BlockKey[] keys, bool copy)
    {
        if (keys.Length == 0)
            return false;
        var began = time.GetTimestamp();
        while (true)
        {
            var mine = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_running.TryAdd(keys[0], mine))
                return ReadClaimed(peer, keys, mine, copy);

            // Somebody else fetches it, perhaps as one of many that come before it, and may come back without it.
            var left = options.Value.FetchTimeout - time.GetElapsedTime(began);
            if (left <= TimeSpan.Zero || (_running.TryGetValue(keys[0], out var other) && !other.Task.Wait(left)))
                return false;
            if (store.Contains(keys[0]))
                return true;
        }
    }

    // What is claimed is fetched: whoever waits for a claim that nobody sees to would take the block for missing. So the claims go on to
    // the first that somebody else has.
    private bool ReadClaimed(PeerSilo peer, BlockKey[] keys, TaskCompletionSource mine, bool copy)
    {
        var claimed = 1;
        try
        {
            while (claimed < keys.Length && _running.TryAdd(keys[claimed], mine))
                claimed++;
            return Read(peer, keys[..claimed], copy);
        }
        finally
        {
            foreach (var key in keys.AsSpan(0, claimed))
                _running.TryRemove(key, out _);
            mine.SetResult();
        }
    }

    private bool Read(PeerSilo peer, BlockKey[] keys, bool copy)
    {
        using var deadline = new CancellationTokenSource(options.Value.FetchTimeout);
        try
        {
            var delivered = peer.Use(connection => connection.GetForCopy(keys, header => Reserve(header, copy), Publish), deadline.Token);
            if (delivered == 0)
                counters.FetchMissed();
            return delivered > 0;
        }
        catch (Exception e)
            when (e is SocketException or IOException or SiloException or KvFormatException or ObjectDisposedException
            or OperationCanceledException)
        {
            counters.FetchFailed();
            LogFailed(peer.Address.ToString(), keys[0].Namespace, keys[0].Hash.ToShortString(), deadline.IsCancellationRequested
                ? "it took too long"
                : e.Message);
            return false;
        }
    }

    /// <summary>Memory for a block that another silo is about to send; null when it is not wanted (any more).</summary>
    internal BlockWrite? Reserve(PeerBlockHeader header, bool copy)
    {
        if (store.Contains(header.Key) || lives.LeftOf(header.Key, header.Generation, LifeOf(header)) <= TimeSpan.Zero)
            return null;
        return store.TryReserve(header.Key, header.Layout, header.Lineage, header.Generation, copy);
    }

    /// <summary>Makes a block visible that has arrived.</summary>
    internal void Publish(PeerBlockHeader header, BlockWrite write, bool intact)
    {
        if (!intact)
        {
            counters.FetchDamaged();
            return;
        }

        if (lives.Publish(write, LifeOf(header), header.Durability) is not null)
            counters.Fetched(header.Layout.BlockBytes);
    }

    private static ConcurrentDictionary<BlockKey, TaskCompletionSource> Running(BlockDirectory directory)
    {
        var running = new ConcurrentDictionary<BlockKey, TaskCompletionSource>();
        directory.UnderWay.Add(running.ContainsKey);
        return running;
    }

    private TimeSpan? LifeOf(PeerBlockHeader header) => header.ExpiresAt - time.GetUtcNow();

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} did not give block {Namespace}/{Hash}: {Reason}")]
    private partial void LogFailed(string silo, NamespaceId @namespace, string hash, string reason);
}
