using System.Security.Cryptography;

namespace KvCache.Storage;

/// <summary>Why a block left the store.</summary>
public enum RemovalReason
{
    /// <summary>Asked for by a client or a grain.</summary>
    Deleted,

    /// <summary>Its bytes no longer match its checksums.</summary>
    Corrupt,
}

/// <summary>Answer to <see cref="BlockStore.Publish"/>.</summary>
public enum PublishOutcome
{
    /// <summary>The block is visible.</summary>
    Published,

    /// <summary>Another generation is visible already; this one was given back. Both are right answers.</summary>
    AlreadyStored,

    /// <summary>The write was published, given back or revoked before.</summary>
    Gone,
}

/// <summary>
/// The blocks of one arena: reserve, publish, lease, evict, expire, remove. Metadata only; bytes are written and read by
/// the callers, outside of the lock.
/// </summary>
/// <remarks>
/// <para>A key has at most one visible block. It can be read as long as a lease is held, whatever happens to the key.</para>
/// <para>Eviction takes the least recently used block, and walks from it down to the deepest evictable block of its prefix,
/// so that what stays can still be reached from its first token. Leased, pinned and unfinished blocks are never taken.</para>
/// <para>One lock guards everything: operations are short and never wait. All members are thread-safe.</para>
/// </remarks>
public sealed class BlockStore : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, BlockEntry> _blocks = [];
    private readonly Dictionary<long, BlockEntry> _byOffset = [];
    private readonly Dictionary<ulong, BlockWrite> _writes = [];
    private readonly RecencyList _recency = new();
    private readonly PriorityQueue<BlockEntry, long> _deadlines = new();
    private readonly List<BlockEntry> _window = [];
    private readonly BlockStoreOptions _options;
    private readonly TimeProvider _time;
    private ulong _nextGeneration;
    private long _useClock;

    private long _blockBytes, _pinnedBytes, _published, _evicted, _evictedBytes, _expired, _deleted, _corrupt, _refused;
    private int _leasedBlocks;

    /// <summary>Creates a store over an arena, which it owns from then on.</summary>
    public BlockStore(Arena arena, BlockStoreOptions? options = null, TimeProvider? time = null)
    {
        Arena = arena;
        _options = options ?? new BlockStoreOptions();
        _time = time ?? TimeProvider.System;

        // 24 random bits for this store's life and a counter: unique over restarts and over silos.
        _nextGeneration = ((ulong)RandomNumberGenerator.GetInt32(1, 1 << 24) << 40) + 1;
    }

    /// <summary>The memory of the blocks.</summary>
    public Arena Arena { get; }

    /// <summary>Reserves memory for a block, evicting others when the arena is full.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="lineage">Where the block stands in its prefix.</param>
    /// <returns>The reservation, or null when nothing that is left could be evicted.</returns>
    public BlockWrite? TryReserve(BlockKey key, KvLayout layout, BlockLineage lineage)
    {
        lock (_lock)
        {
            SweepDeadlines();
            if (!Arena.TryAllocate(layout.BlockBytes, out var offset) && !MakeRoom(layout.BlockBytes, out offset))
            {
                _refused++;
                return null;
            }

            var entry = new BlockEntry(key, layout, _nextGeneration++, offset) { State = BlockState.Writing };
            var write = new BlockWrite(this, entry, lineage);
            _byOffset.Add(offset, entry);
            _writes.Add(entry.Generation, write);
            return write;
        }
    }

    /// <summary>Makes a written block visible. Its bytes and checksums must be complete.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    /// <param name="timeToLive">Life from now on; null for as long as memory lasts.</param>
    public PublishOutcome Publish(BlockKey key, ulong generation, TimeSpan? timeToLive = null)
    {
        lock (_lock)
        {
            if (!_writes.TryGetValue(generation, out var write) || write.Key != key || write.Revoked)
                return PublishOutcome.Gone;
            _writes.Remove(generation);
            var entry = write.Entry;
            if (Find(entry.Key) is not null)
            {
                entry.State = BlockState.Removed;
                FreeMemory(entry);
                return PublishOutcome.AlreadyStored;
            }

            entry.State = BlockState.Sealed;
            entry.LastUse = ++_useClock;
            _blocks.Add(entry.Key, entry);
            _blockBytes += entry.Length;
            _published++;
            if (!write.Lineage.Parent.IsZero && write.Lineage.Parent != key.Hash)
                Find(key with { Hash = write.Lineage.Parent })?.Adopt(entry);
            _recency.AddNewest(entry);
            if (timeToLive is { } life)
                SetDeadline(entry, life);
            return PublishOutcome.Published;
        }
    }

    /// <summary>Whether a write is running: reserved, and neither published, given back nor revoked.</summary>
    public bool IsWriting(ulong generation)
    {
        lock (_lock)
            return _writes.TryGetValue(generation, out var write) && !write.Revoked;
    }

    /// <summary>Keeps a running write from ever becoming visible. Its memory stays with the writer until it gives it back.</summary>
    public void Revoke(ulong generation)
    {
        lock (_lock)
        {
            if (_writes.TryGetValue(generation, out var write))
                write.Revoked = true;
        }
    }

    /// <summary>Whether a block is visible. Neither extends its life nor counts as use.</summary>
    public bool Contains(BlockKey key)
    {
        lock (_lock)
            return Find(key) is not null;
    }

    /// <summary>Generation and shape of the visible block, or null. Neither extends its life nor counts as use.</summary>
    public (ulong Generation, KvLayout Layout)? Describe(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? (entry.Generation, entry.Layout) : null;
    }

    /// <summary>
    /// Counts how many of the blocks are visible, from the first up to the first that is not.
    /// Neither extends lives nor counts as use.
    /// </summary>
    public int Match(NamespaceId ns, ReadOnlySpan<BlockHash> hashes)
    {
        lock (_lock)
        {
            var count = 0;
            while (count < hashes.Length && Find(new BlockKey(ns, hashes[count])) is not null)
                count++;
            return count;
        }
    }

    /// <summary>Takes a lease on a block and counts a use.</summary>
    /// <returns>The lease, or null when the block is not visible.</returns>
    public BlockLease? TryLease(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? Lease(entry) : null;
    }

    /// <summary>
    /// Takes leases on the blocks from the first up to the first that is not visible, or until a number of bytes is reached.
    /// </summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">Blocks of one chain.</param>
    /// <param name="maxBytes">Most bytes to lease.</param>
    /// <param name="leases">Receives the leases.</param>
    /// <returns>Number of visible blocks, which can exceed the number of leases when <paramref name="maxBytes"/> was reached.</returns>
    public int LeaseRun(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, long maxBytes, ICollection<BlockLease> leases)
    {
        lock (_lock)
        {
            var count = 0;
            long bytes = 0;
            for (; count < hashes.Length && Find(new BlockKey(ns, hashes[count])) is { } entry; count++)
            {
                bytes += entry.Length;
                if (bytes <= maxBytes)
                    leases.Add(Lease(entry));
            }

            return count;
        }
    }

    /// <summary>Takes a block out of sight. Its memory is reused when the last lease is released.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="reason">Why, for the counters.</param>
    /// <param name="generation">Only this generation, or any.</param>
    /// <returns>False when no such block is visible.</returns>
    public bool Remove(BlockKey key, RemovalReason reason = RemovalReason.Deleted, ulong? generation = null)
    {
        lock (_lock)
        {
            if (Find(key) is not { } entry || (generation is { } wanted && wanted != entry.Generation))
                return false;
            RemoveEntry(entry);
            _ = reason == RemovalReason.Corrupt ? _corrupt++ : _deleted++;
            return true;
        }
    }

    /// <summary>Keeps a block from being evicted.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="duration">How long; zero or less ends the pin.</param>
    /// <returns>False when the block is not visible or pins would exceed their share of the arena.</returns>
    public bool Pin(BlockKey key, TimeSpan duration)
    {
        lock (_lock)
        {
            if (Find(key) is not { } entry)
                return false;
            if (duration <= TimeSpan.Zero)
            {
                Unpin(entry);
                return true;
            }

            if (entry.PinnedUntil == 0)
            {
                if (_pinnedBytes + entry.Length > _options.MaxPinnedShare * Arena.Capacity)
                    return false;
                _pinnedBytes += entry.Length;
                _recency.Remove(entry);
            }

            entry.PinnedUntil = After(duration);
            EnqueueDeadline(entry, entry.PinnedUntil);
            return true;
        }
    }

    /// <summary>Sets the life of a block, from now on.</summary>
    /// <returns>False when the block is not visible.</returns>
    public bool SetTimeToLive(BlockKey key, TimeSpan timeToLive)
    {
        lock (_lock)
        {
            if (Find(key) is not { } entry)
                return false;
            SetDeadline(entry, timeToLive);
            return true;
        }
    }

    /// <summary>Drops expired blocks and ends pins whose time is over. Reserving does it too; a timer makes idle stores do it.</summary>
    public void Sweep()
    {
        lock (_lock)
            SweepDeadlines();
    }

    /// <summary>Evicts everything that can be evicted.</summary>
    /// <returns>Number of blocks evicted.</returns>
    public int Clear()
    {
        lock (_lock)
        {
            var count = 0;
            while (_recency.Oldest is not null)
            {
                Evict(SelectVictim()!);
                count++;
            }

            return count;
        }
    }

    /// <summary>A consistent snapshot of the counters.</summary>
    public BlockStoreStatistics GetStatistics()
    {
        lock (_lock)
        {
            return new BlockStoreStatistics
            {
                Blocks = _blocks.Count,
                BlockBytes = _blockBytes,
                LeasedBlocks = _leasedBlocks,
                PinnedBytes = _pinnedBytes,
                Writing = _writes.Count,
                ArenaBytes = Arena.Capacity,
                ArenaCommittedBytes = Arena.CommittedBytes,
                ArenaUsedBytes = Arena.UsedBytes,
                Fragmentation = Arena.Fragmentation,
                Published = _published,
                Evicted = _evicted,
                EvictedBytes = _evictedBytes,
                Expired = _expired,
                Deleted = _deleted,
                Corrupt = _corrupt,
                Refused = _refused,
            };
        }
    }

    /// <summary>
    /// Unmaps the arena, unless somebody still holds a lease or writes: touching unmapped memory would kill the process, so the
    /// mapping is then left to its end.
    /// </summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_leasedBlocks == 0 && _writes.Count == 0)
                Arena.Dispose();
        }
    }

    internal void Release(BlockEntry entry)
    {
        lock (_lock)
        {
            if (--entry.Leases > 0)
                return;
            _leasedBlocks--;
            if (entry.State == BlockState.Removed)
                FreeMemory(entry);
            else if (entry.PinnedUntil == 0)
                _recency.AddNewest(entry);
        }
    }

    internal void Abandon(BlockEntry entry)
    {
        lock (_lock)
        {
            if (!_writes.Remove(entry.Generation))
                return;
            entry.State = BlockState.Removed;
            FreeMemory(entry);
        }
    }

    private BlockEntry? Find(BlockKey key)
    {
        if (!_blocks.TryGetValue(key, out var entry))
            return null;
        if (entry.ExpiresAt == long.MaxValue || entry.ExpiresAt > _time.GetUtcNow().UtcTicks)
            return entry;
        Expire(entry);
        return null;
    }

    private BlockLease Lease(BlockEntry entry)
    {
        if (entry.Leases++ == 0)
        {
            _leasedBlocks++;
            _recency.Remove(entry);
        }

        entry.LastUse = ++_useClock;
        return new BlockLease(this, entry);
    }

    private bool MakeRoom(int bytes, out long offset)
    {
        long needed = Arena.RoundUp(bytes), evicted = 0;
        offset = 0;
        if (needed > Arena.CommittedBytes)
            return false;
        while (SelectVictim() is { } victim)
        {
            // The least recently used blocks first. When twice the needed bytes are gone and still no run is long enough,
            // memory is fragmented: from then on the neighbours of the victim go too, until they make one run.
            if (evicted >= 2 * needed)
                EvictAround(victim, needed);
            else
                evicted += Evict(victim);
            if (Arena.TryAllocate(bytes, out offset))
                return true;
        }

        return false;
    }

    private BlockEntry? SelectVictim()
    {
        BlockEntry? fallback = null;
        var looked = 0;
        for (var candidate = _recency.Oldest; candidate is not null && looked < _options.EvictionScan; candidate = candidate.Newer, looked++)
        {
            var leaf = Descend(candidate);
            if (leaf.FirstChild is null)
                return leaf;
            fallback ??= leaf;
        }

        return fallback;
    }

    private static BlockEntry Descend(BlockEntry entry)
    {
        while (true)
        {
            BlockEntry? oldest = null;
            for (var child = entry.FirstChild; child is not null; child = child.NextSibling)
            {
                if (child.InRecency && (oldest is null || child.LastUse < oldest.LastUse))
                    oldest = child;
            }

            if (oldest is null)
                return entry;
            entry = oldest;
        }
    }

    private void EvictAround(BlockEntry victim, long needed)
    {
        // Neighbours are collected first and evicted together: freeing merges runs and would move the borders meanwhile.
        _window.Clear();
        _window.Add(victim);
        var bytes = Arena.RoundUp(victim.Length);
        foreach (var backward in (ReadOnlySpan<bool>)[false, true])
        {
            var at = victim.Offset;
            while (bytes < needed && Arena.TryGetNeighbour(at, backward, out var neighbour))
            {
                if (!neighbour.Free)
                {
                    if (!_byOffset.TryGetValue(neighbour.Offset, out var entry) || !entry.InRecency)
                        break;
                    _window.Add(entry);
                }

                at = neighbour.Offset;
                bytes += neighbour.Bytes;
            }
        }

        foreach (var entry in _window)
            Evict(entry);
    }

    private long Evict(BlockEntry entry)
    {
        RemoveEntry(entry);
        _evicted++;
        _evictedBytes += entry.Length;
        return Arena.RoundUp(entry.Length);
    }

    private void Expire(BlockEntry entry)
    {
        RemoveEntry(entry);
        _expired++;
    }

    private void RemoveEntry(BlockEntry entry)
    {
        _blocks.Remove(entry.Key);
        _blockBytes -= entry.Length;
        _recency.Remove(entry);
        if (entry.PinnedUntil != 0)
        {
            _pinnedBytes -= entry.Length;
            entry.PinnedUntil = 0;
        }

        entry.DetachFromTree();
        entry.State = BlockState.Removed;
        if (entry.Leases == 0)
            FreeMemory(entry);
    }

    private void FreeMemory(BlockEntry entry)
    {
        _byOffset.Remove(entry.Offset);
        Arena.Free(entry.Offset);
    }

    private void Unpin(BlockEntry entry)
    {
        if (entry.PinnedUntil == 0)
            return;
        entry.PinnedUntil = 0;
        _pinnedBytes -= entry.Length;
        if (entry.Leases == 0)
            _recency.AddNewest(entry);
    }

    private void SetDeadline(BlockEntry entry, TimeSpan life)
    {
        entry.ExpiresAt = After(life);
        EnqueueDeadline(entry, entry.ExpiresAt);
    }

    // Deadlines of blocks that went earlier stay queued; when they are the most, the queue is built anew.
    private void EnqueueDeadline(BlockEntry entry, long due)
    {
        if (_deadlines.Count > 1024 && _deadlines.Count > 4 * _blocks.Count)
        {
            _deadlines.Clear();
            foreach (var block in _blocks.Values)
            {
                if (block.ExpiresAt != long.MaxValue)
                    _deadlines.Enqueue(block, block.ExpiresAt);
                if (block.PinnedUntil != 0)
                    _deadlines.Enqueue(block, block.PinnedUntil);
            }
        }

        _deadlines.Enqueue(entry, due);
    }

    private long After(TimeSpan duration)
    {
        var now = _time.GetUtcNow().UtcTicks;
        return duration.Ticks > DateTime.MaxValue.Ticks - now ? DateTime.MaxValue.Ticks : now + duration.Ticks;
    }

    // An entry is queued once for each deadline it was ever given; what it says now decides.
    private void SweepDeadlines()
    {
        var now = _time.GetUtcNow().UtcTicks;
        while (_deadlines.TryPeek(out var entry, out var due) && due <= now)
        {
            _deadlines.Dequeue();
            if (entry.State != BlockState.Sealed)
                continue;
            if (entry.ExpiresAt <= now)
                Expire(entry);
            else if (entry.PinnedUntil != 0 && entry.PinnedUntil <= now)
                Unpin(entry);
        }
    }
}
