namespace KvCache.Engine.Storage;

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
internal sealed partial class BlockStore : IDisposable
{
    /// <summary>Bits of a generation below its milliseconds.</summary>
    public const int GenerationClockShift = 20;

    private const int StoreIdBits = 12;

    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, BlockEntry> _blocks = [];
    private readonly Dictionary<long, BlockEntry> _byOffset = [];
    private readonly Dictionary<ulong, BlockWrite> _writes = [];
    private readonly Dictionary<BlockKey, BlockWrite> _writesOf = []; // the first of each key's; the others hang on it
    private readonly Dictionary<BlockKey, BlockWrite> _writers = []; // of those, the one that keeps others of its key from beginning
    private readonly DeadlineQueue _deadlines;
    private readonly EvictionPlanner _evictions;
    private readonly BlockStoreCounters _counters = new();
    private readonly BlockStoreOptions _options;
    private readonly IBlockObserver? _observer;
    private readonly Random _random;
    private readonly ulong _id;
    private ulong _lastGeneration;
    private long _useClock;
    private bool _closed;

    /// <summary>Creates a store over an arena, which it owns from then on.</summary>
    /// <param name="arena">Memory of the blocks.</param>
    /// <param name="options">Limits; null for the defaults.</param>
    /// <param name="time">Clock; null for the system's.</param>
    /// <param name="observer">Hears of every change; null for nobody.</param>
    /// <param name="random">Gives the random part of generations; null for <see cref="Random.Shared"/>.</param>
    /// <param name="accounts">Who may have how much; null for no limits but those of the options.</param>
    public BlockStore(
        Arena arena,
        BlockStoreOptions? options = null,
        TimeProvider? time = null,
        IBlockObserver? observer = null,
        Random? random = null,
        TenantAccounts? accounts = null)
    {
        Accounts = accounts ?? new TenantAccounts();
        Arena = arena;
        _observer = observer;
        _random = random ?? Random.Shared;
        _id = (ulong)_random.Next(1 << StoreIdBits);
        _options = options ?? new BlockStoreOptions();
        _deadlines = new DeadlineQueue(_blocks, time ?? TimeProvider.System);
        _evictions = new EvictionPlanner(arena, _byOffset, Accounts, _options.EvictionScan);
    }

    /// <summary>The memory of the blocks.</summary>
    public Arena Arena { get; }

    /// <summary>Who has how much of it.</summary>
    public TenantAccounts Accounts { get; }

    /// <summary>Until when blocks may be read here.</summary>
    public ServingTerm Term { get; } = new();

    /// <summary>
    /// An id for a write, or a stamp of a deletion: Unix milliseconds shifted left by <see cref="GenerationClockShift"/> bits, a count, and
    /// a random
    /// number of this store. It is larger than every id that this store has given or seen (a hybrid logical clock; Kulkarni et al.,
    /// "Logical
    /// Physical Clocks", OPODIS 2014), so that ids of several silos can be compared.
    /// </summary>
    public ulong NewGeneration()
    {
        lock (_lock)
            return NextGeneration();
    }

    /// <summary>The latest id that this store has given or seen: what a silo tells others of its clock.</summary>
    public ulong Clock
    {
        get
        {
            lock (_lock)
                return _lastGeneration;
        }
    }

    /// <summary>
    /// A stamp for a deletion that another silo has stamped: its own stamp, unless this store has given or seen later ids. Nothing that is
    /// here, or on its way here, is as late.
    /// </summary>
    public ulong StampFrom(ulong stamp)
    {
        lock (_lock)
        {
            if (_lastGeneration > stamp)
                return _lastGeneration = (((_lastGeneration >> StoreIdBits) + 1) << StoreIdBits) | _id;
            return _lastGeneration = stamp;
        }
    }

    /// <summary>Takes notice of an id of another silo: later ids of this store are larger.</summary>
    public void Witness(ulong generation)
    {
        lock (_lock)
            _lastGeneration = Math.Max(_lastGeneration, generation);
    }

    /// <summary>Reserves memory for a block, evicting others when the arena is full.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="lineage">Where the block stands in its prefix.</param>
    /// <param name="generation">Id that a copy brings along from the tier that it is read from; null for a new write.</param>
    /// <param name="copy">The block is held by another silo too: it is evicted first, and such copies have a bounded share of the
    /// arena.</param>
    /// <returns>The reservation, or null when nothing that is left could be evicted, or that generation is being written already.</returns>
    public BlockWrite? TryReserve(BlockKey key, KvLayout layout, BlockLineage lineage, ulong? generation = null, bool copy = false)
    {
        lock (_lock)
        {
            SweepDeadlines();
            if (generation is { } taken)
            {
                if (_writes.ContainsKey(taken))
                    return null;
                _lastGeneration = Math.Max(_lastGeneration, taken);
            }

            var account = Accounts.Of(key.Namespace);
            if (_closed || !MakeRoomInAccount(account, layout.BlockBytes) || (copy && !MakeRoomForCopy(account, layout.BlockBytes))
                || (!Arena.TryAllocate(layout.BlockBytes, out var offset) && !MakeRoom(account, layout.BlockBytes, out offset)))
            {
                _counters.Refused++;
                account.Refused++;
                return null;
            }

            var entry = new BlockEntry(
                key, layout, generation ?? NextGeneration(), offset, lineage, copy, account)
            { State = BlockState.Writing };
            account.UsedBytes += entry.ArenaBytes;
            account.WritingBytes += entry.ArenaBytes;
            if (copy)
                _counters.CopiedBytes += entry.ArenaBytes;
            var write = new BlockWrite(this, entry);
            _byOffset.Add(offset, entry);
            _writes.Add(entry.Generation, write);
            write.NextOfKey = _writesOf.GetValueOrDefault(key);
            _writesOf[key] = write;
            return write;
        }
    }

    /// <summary>Reserves memory for a block that is neither stored nor being written here, or that is to replace it, evicting others when
    /// the arena is full.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="lineage">Where the block stands in its prefix.</param>
    /// <param name="replace">A stored block, or another write, does not stand in the way, and this write in nobody's.</param>
    /// <param name="write">The reservation, when there is one. Until it ends, or is revoked, no other one of its key is given, but for
    /// those that replace.</param>
    public BeginOutcome TryBegin(BlockKey key, KvLayout layout, BlockLineage lineage, bool replace, out BlockWrite? write)
    {
        lock (_lock)
        {
            write = null;
            if (!replace && Find(key) is not null)
                return BeginOutcome.AlreadyStored;
            if (!replace && _writers.ContainsKey(key))
                return BeginOutcome.BeingWritten;
            write = TryReserve(key, layout, lineage);
            if (write is null)
                return BeginOutcome.NoMemory;
            if (!replace)
                _writers.Add(key, write);
            return BeginOutcome.Accepted;
        }
    }

    /// <summary>Makes a written block visible. Its bytes and checksums must be complete.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    /// <param name="timeToLive">Life from now on; null for as long as memory lasts.</param>
    /// <param name="durability">What its writer asked for beyond memory.</param>
    /// <param name="replace">
    /// Takes the place of a visible block, instead of giving way to it. The write gets a new generation (<see
    /// cref="BlockWrite.Generation"/> says
    /// it), so that of several replacing writes the one that is published last is the newest, whichever began first, and a deletion
    /// counts when it comes behind the publication and not when it came before.
    /// </param>
    public PublishOutcome Publish(
        BlockKey key, ulong generation, TimeSpan? timeToLive = null, BlockDurability durability = default, bool replace = false)
    {
        lock (_lock)
        {
            if (_closed || !_writes.TryGetValue(generation, out var write) || write.Key != key || write.Revoked)
                return PublishOutcome.Gone;
            EndWrite(write);
            var entry = write.Entry;
            if (replace)
                entry.Generation = generation = NextGeneration();
            var dead = _observer?.MayPublish(key, generation) == false;
            if (!dead && replace && Find(key) is { } older)
            {
                RemoveEntry(older);
                _counters.Deleted++;
            }

            write.End = dead ? WriteEnd.Failed : WriteEnd.Complete;
            if (dead || Find(key) is not null)
            {
                Discard(entry);
                return dead ? PublishOutcome.Gone : PublishOutcome.AlreadyStored;
            }

            entry.State = BlockState.Sealed;
            entry.Durability = durability;
            entry.LastUse = ++_useClock;
            _blocks.Add(entry.Key, entry);
            _counters.BlockBytes += entry.Length;
            _counters.Published++;
            entry.Account.Blocks++;
            if (!entry.IsCopy)
            {
                entry.Account.WrittenBlocks++;
                entry.Account.WrittenTokens += entry.Layout.TokensPerBlock;
            }

            if (!entry.Lineage.Parent.IsZero && entry.Lineage.Parent != key.Hash)
                Find(key with { Hash = entry.Lineage.Parent })?.Adopt(entry);
            if (entry.Leases == 0)
                ListOf(entry).AddNewest(entry, ++_useClock); // otherwise when the last follower has left
            if (timeToLive is { } life)
                SetDeadline(entry, life);
            _observer?.Published(key, generation);
            return PublishOutcome.Published;
        }
    }

    /// <summary>Whether a write is running: reserved, and neither published, given back nor revoked.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    public bool IsWriting(BlockKey key, ulong generation)
    {
        lock (_lock)
            return _writes.TryGetValue(generation, out var write) && write.Key == key && !write.Revoked;
    }

    /// <summary>
    /// Keeps a running write from ever becoming visible. Its memory stays with the writer until it gives it back. A write of another key is
    /// left
    /// alone: an id is easily guessed, and must not end what somebody else stores.
    /// </summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    public void Revoke(BlockKey key, ulong generation)
    {
        lock (_lock)
        {
            if (!_writes.TryGetValue(generation, out var write) || write.Key != key)
                return;
            write.Revoked = true;
            write.End = WriteEnd.Failed;
            EndWriter(write);
        }
    }

    /// <summary>Whether a block is visible, or a write of it is running.</summary>
    public bool Knows(BlockKey key)
    {
        lock (_lock)
            return _writesOf.ContainsKey(key) || Find(key) is not null;
    }

    /// <summary>Whether a block is visible. Neither extends its life nor counts as use.</summary>
    public bool Contains(BlockKey key) => Describe(key) is not null;

    /// <summary>Generation and shape of the visible block, or null. Neither extends its life nor counts as use.</summary>
    public (ulong Generation, KvLayout Layout)? Describe(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? (entry.Generation, entry.Layout) : null;
    }

    /// <summary>Block before the visible block, and tokens of a block; null when it is not visible. Neither extends its life nor counts as
    /// use.</summary>
    public (BlockHash Parent, int TokensPerBlock)? DescribePlace(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? (entry.Lineage.Parent, entry.Layout.TokensPerBlock) : null;
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
    /// <returns>The lease, or null when the block is not visible, or its tenant has all that it may have out of reach of
    /// eviction.</returns>
    public BlockLease? TryLease(BlockKey key)
    {
        lock (_lock)
            return !Term.IsOver && Find(key) is { } entry && MayLease(entry) ? Lease(entry) : null;
    }

    /// <summary>
    /// Takes leases on the blocks from the first up to the first that is not visible, or until a number of bytes is reached.
    /// </summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">Blocks of one chain.</param>
    /// <param name="maxBytes">Most arena bytes to lease, which include the rounding of sizes.</param>
    /// <param name="leases">Receives the leases.</param>
    /// <returns>Number of visible blocks, which can exceed the number of leases when <paramref name="maxBytes"/> was reached.</returns>
    public int LeaseRun(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, long maxBytes, ICollection<BlockLease> leases)
    {
        lock (_lock)
        {
            var count = 0;
            long bytes = 0;
            if (Term.IsOver)
                return 0;
            for (; count < hashes.Length && Find(new BlockKey(ns, hashes[count])) is { } entry; count++)
            {
                bytes += entry.ArenaBytes;
                if (bytes <= maxBytes && MayLease(entry))
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
            _ = reason == RemovalReason.Corrupt ? _counters.Corrupt++ : _counters.Deleted++;
            return true;
        }
    }

    /// <summary>Takes a block out of sight if its generation is below a stamp.</summary>
    /// <returns>False when no such block is visible.</returns>
    public bool Bury(BlockKey key, ulong stamp)
    {
        lock (_lock)
        {
            _lastGeneration = Math.Max(_lastGeneration, stamp);
            TellFollowers(key, stamp);
            if (Find(key) is not { } entry || entry.Generation >= stamp)
                return false;
            RemoveEntry(entry);
            _counters.Deleted++;
            return true;
        }
    }

    /// <summary>Silos that should keep a block, as its writer asked; 0 when it is not visible. Does not count as use.</summary>
    public int WantedCopies(BlockKey key)
    {
        lock (_lock)
            return Find(key) is { } entry ? Math.Max(1, entry.Durability.Copies) : 0;
    }

    /// <summary>The block before a block in its chain; zero when there is none or the block is not visible. Does not count as
    /// use.</summary>
    public BlockHash ParentOf(BlockKey key)
    {
        lock (_lock)
            return Find(key)?.Lineage.Parent ?? default;
    }

    /// <summary>Keys of the visible blocks that more than one silo should keep.</summary>
    public void CollectCopied(ICollection<BlockKey> keys) => Collect(entry => entry.Durability.Copies > 1, keys);

    /// <summary>A consistent snapshot of the counters.</summary>
    public BlockStoreStatistics GetStatistics()
    {
        lock (_lock)
            return _counters.Snapshot(_blocks.Count, _writes.Count, Arena);
    }

    /// <summary>Keys of an account's visible blocks.</summary>
    public void CollectOf(TenantAccount account, ICollection<BlockKey> keys) => Collect(entry => entry.Account == account, keys);

    /// <summary>Visible blocks with their bytes in the arena, the most recently used one first.</summary>
    public IEnumerable<(BlockKey Key, long Bytes)> ByLastUse()
    {
        var blocks = new List<(long LastUse, BlockKey Key, long Bytes)>();
        lock (_lock)
        {
            foreach (var entry in _blocks.Values)
            {
                if (entry.State == BlockState.Sealed)
                    blocks.Add((entry.LastUse, entry.Key, entry.ArenaBytes));
            }
        }

        return blocks.OrderByDescending(block => block.LastUse).Select(block => (block.Key, block.Bytes));
    }

    /// <summary>Collects the keys of a namespace.</summary>
    public void CollectOf(NamespaceId ns, ICollection<BlockKey> keys) => Collect(entry => entry.Key.Namespace == ns, keys);

    private void Collect(Func<BlockEntry, bool> wanted, ICollection<BlockKey> keys)
    {
        lock (_lock)
        {
            foreach (var entry in _blocks.Values)
            {
                if (wanted(entry))
                    keys.Add(entry.Key);
            }
        }
    }

    /// <summary>A consistent snapshot of a tenant's account.</summary>
    public TenantStatistics GetStatistics(TenantAccount account)
    {
        lock (_lock)
            return account.Snapshot();
    }

    /// <summary>
    /// Closes the store: nothing is found, reserved or published any more. The arena is unmapped when nobody holds a lease or
    /// writes: touching unmapped memory would kill the process.
    /// </summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _closed = true;
            foreach (var entry in _blocks.Values.ToArray())
                RemoveEntry(entry);
            if (_byOffset.Count == 0)
                Arena.Dispose();
        }
    }

    internal void Release(BlockEntry entry)
    {
        lock (_lock)
        {
            if (--entry.Leases > 0)
                return;
            _counters.LeasedBlocks--;
            if (entry.State == BlockState.Removed)
                FreeMemory(entry);
            else if (entry.State == BlockState.Sealed && entry.PinnedUntil == 0)
                ListOf(entry).AddNewest(entry, ++_useClock);
        }
    }

    internal void Abandon(BlockEntry entry)
    {
        lock (_lock)
        {
            if (!_writes.TryGetValue(entry.Generation, out var write))
                return;
            EndWrite(write);
            write.End = WriteEnd.Failed;
            Discard(entry);
        }
    }

    // What was never visible: its memory is free when no follower reads it.
    private void Discard(BlockEntry entry)
    {
        entry.State = BlockState.Removed;
        if (entry.Leases == 0)
            FreeMemory(entry);
    }

    private void EndWrite(BlockWrite write)
    {
        _writes.Remove(write.Generation);
        Unchain(write);
        write.Entry.Account.WritingBytes -= write.Entry.ArenaBytes;
        _followed.Remove(write);
        EndWriter(write);
    }

    private void Unchain(BlockWrite write)
    {
        if (_writesOf[write.Key] is var first && first != write)
        {
            while (first.NextOfKey != write)
                first = first.NextOfKey!;
            first.NextOfKey = write.NextOfKey;
        }
        else if (write.NextOfKey is { } next)
        {
            _writesOf[write.Key] = next;
        }
        else
        {
            _writesOf.Remove(write.Key);
        }
    }

    private void EndWriter(BlockWrite write)
    {
        if (_writers.TryGetValue(write.Key, out var writer) && writer == write)
            _writers.Remove(write.Key);
    }

    private BlockEntry? Find(BlockKey key)
    {
        if (!_blocks.TryGetValue(key, out var entry))
            return null;
        if (entry.ExpiresAt == long.MaxValue || entry.ExpiresAt > _deadlines.Now)
            return entry;
        Expire(entry);
        return null;
    }

    private static bool MayLease(BlockEntry entry) => !entry.InRecency || entry.Account.MayLock(entry.ArenaBytes);

    private BlockLease Lease(BlockEntry entry)
    {
        if (entry.Leases++ == 0)
        {
            _counters.LeasedBlocks++;
            ListOf(entry).Remove(entry);
        }

        entry.LastUse = ++_useClock;
        return new BlockLease(this, entry);
    }

    // 8 bits of a millisecond are counted, from a random number on; who gives away more borrows from the next one. The rest names the
    // store: one
    // whose clock is behind goes on from an id that it has seen, and so does the store that gave it.
    private ulong NextGeneration()
    {
        var clock = ((ulong)(_deadlines.UtcNow - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond) << GenerationClockShift;
        var counted = _lastGeneration >= clock
            ? (_lastGeneration >> StoreIdBits) + 1
            : (clock >> StoreIdBits) | (uint)_random.Next(1 << (GenerationClockShift - StoreIdBits - 1));
        _lastGeneration = (counted << StoreIdBits) | _id;
        return _lastGeneration;
    }

    private void Expire(BlockEntry entry)
    {
        RemoveEntry(entry);
        _counters.Expired++;
    }

    private void RemoveEntry(BlockEntry entry)
    {
        _blocks.Remove(entry.Key);
        _counters.BlockBytes -= entry.Length;
        entry.Account.Blocks--;
        ListOf(entry).Remove(entry);
        if (entry.PinnedUntil != 0)
        {
            _counters.PinnedBytes -= entry.ArenaBytes;
            entry.Account.PinnedBytes -= entry.ArenaBytes;
            entry.PinnedUntil = 0;
        }

        entry.DetachFromTree();
        entry.State = BlockState.Removed;
        _observer?.Removed(entry.Key, entry.Generation);
        if (entry.Leases == 0)
            FreeMemory(entry);
    }

    private void FreeMemory(BlockEntry entry)
    {
        _byOffset.Remove(entry.Offset);
        entry.Account.UsedBytes -= entry.ArenaBytes;
        if (entry.IsCopy)
            _counters.CopiedBytes -= entry.ArenaBytes;
        Arena.Free(entry.Offset);
        if (_closed && _byOffset.Count == 0)
            Arena.Dispose();
    }
}
