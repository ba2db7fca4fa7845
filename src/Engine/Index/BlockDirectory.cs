using KvCache.Engine.Storage;

namespace KvCache.Engine.Index;

/// <summary>
/// What this silo knows of the cluster's blocks, and what it tells the others: every change of its block store enters the index and the
/// log, and what others say of deletions reaches the store.
/// </summary>
/// <remarks>
/// <para>A change enters the index before the log (see <see cref="IndexLog"/> for why), and both while the store's lock is held, so that
/// index, log and store tell the same story in the same order.</para>
/// <para>A deletion is a stamp: every generation below it is dead on every silo, in Redis and on the way. Whoever hears of it remembers it
/// before it looks for what to remove, and a publication asks whether it is dead under the lock under which it becomes visible: whichever
/// comes first, the block does not stay.</para>
/// <para>All members are thread-safe.</para>
/// </remarks>
internal sealed class BlockDirectory : IBlockObserver, IIndexSink
{
    /// <summary>Slot of this silo in its own index.</summary>
    public const int Self = 0;

    private BlockStore? _store;

    /// <summary>Creates the directory of a store that is attached later.</summary>
    /// <param name="index">Who has which blocks.</param>
    /// <param name="log">What the others are told.</param>
    /// <param name="tombstones">Deleted blocks.</param>
    public BlockDirectory(PrefixIndex index, IndexLog log, Tombstones tombstones)
    {
        Index = index;
        Log = log;
        Tombstones = tombstones;
    }

    /// <summary>Who has which blocks.</summary>
    public PrefixIndex Index { get; }

    /// <summary>What the others are told.</summary>
    public IndexLog Log { get; }

    /// <summary>Deleted blocks.</summary>
    public Tombstones Tombstones { get; }

    /// <summary>
    /// Called when a block is deleted or replaced here, not when others tell of it: what lies outside of memory has to go too. Short, and
    /// never back into the directory.
    /// </summary>
    public Action<BlockKey>? Buried { get; set; }

    /// <summary>Where blocks go that leave the store's memory; null for nowhere. Set while the silo is put together.</summary>
    public IColderTier? Colder { get; set; }

    /// <summary>Names the store, which was created with this directory as its observer.</summary>
    public void Attach(BlockStore store) => _store = store;

    /// <inheritdoc/>
    public bool MayPublish(BlockKey key, ulong generation) => !Tombstones.IsDead(key, generation);

    /// <inheritdoc/>
    public bool IsElsewhere(BlockKey key) => (Index.HoldersOf(key) & ~(1UL << Self)) != 0 || Colder?.Has(key) == true;

    /// <inheritdoc/>
    public void Published(BlockKey key, ulong generation, bool replaces)
    {
        if (replaces)
            Colder?.Replaced(key, generation);
        Index.Add(key, Self);
        Log.Append(new IndexDelta(IndexOperation.Added, key, generation));
    }

    /// <inheritdoc/>
    public void Removed(BlockKey key, ulong generation)
    {
        if (Colder?.Has(key) == true)
            return; // this silo has it still
        Index.Remove(key, Self);
        Log.Append(new IndexDelta(IndexOperation.Removed, key, generation));
    }

    /// <inheritdoc/>
    public void Settled(BlockKey key)
    {
        if (Colder?.Has(key) == true)
        {
            if (Index.Add(key, Self))
                Log.Append(new IndexDelta(IndexOperation.Added, key, 0));
        }
        else if (Index.Remove(key, Self))
        {
            Log.Append(new IndexDelta(IndexOperation.Removed, key, 0));
        }
    }

    /// <summary>Redis has the payload of a block.</summary>
    /// <param name="key">The block.</param>
    /// <param name="generation">The generation that was written.</param>
    /// <returns>False when it was deleted meanwhile; the payload has to go.</returns>
    public bool Persisted(BlockKey key, ulong generation)
    {
        if (Tombstones.IsDead(key, generation))
            return false;
        Index.Add(key, PrefixIndex.RedisHolder);
        Log.Append(new IndexDelta(IndexOperation.Persisted, key, generation));
        if (!Tombstones.IsDead(key, generation))
            return true;
        Unpersisted(key);
        return false;
    }

    /// <summary>A scan has found the payload of a block in Redis. Every silo scans for itself, so nobody is told.</summary>
    public void FoundInRedis(BlockKey key)
    {
        // A payload of a deleted block is on its way out.
        if (!Tombstones.IsDead(key, 0))
            Index.Add(key, PrefixIndex.RedisHolder);
    }

    /// <summary>
    /// Begins to look through all of Redis. What is found, written or told meanwhile stays; <see cref="EndScan"/> forgets the rest. A scan
    /// that failed is not ended, but begun again.
    /// </summary>
    public void BeginScan() => Index.BeginReplace(PrefixIndex.RedisHolder);

    /// <summary>All of Redis was looked through.</summary>
    /// <returns>Number of blocks that Redis no longer has.</returns>
    public int EndScan() => Index.EndReplace(PrefixIndex.RedisHolder);

    /// <summary>Redis does not have the payload of a block.</summary>
    public void Unpersisted(BlockKey key)
    {
        if (Index.Remove(key, PrefixIndex.RedisHolder))
            Log.Append(new IndexDelta(IndexOperation.Unpersisted, key, 0));
    }

    /// <summary>
    /// Who knows whether a block may be on its way here, or from here to Redis, or at a silo that is not heard, where the store and the
    /// index do not tell. Added to while the
    /// silo is put together.
    /// </summary>
    public ICollection<Func<BlockKey, bool>> UnderWay { get; } = [];

    /// <summary>
    /// Deletes a block here and now. Others are told by who has asked everybody, with <see cref="Announce"/>. Of a block that is unknown
    /// here little is remembered: not visible, not being written, not on its way, and the index knows of no holder.
    /// </summary>
    /// <param name="key">The block.</param>
    /// <param name="stamp">Stamp of the deletion here: from <see cref="BlockStore.StampFrom"/>, so that what is here is older, whatever the
    /// clocks of the silos say.</param>
    public Deletion Delete(BlockKey key, ulong stamp)
    {
        var store = _store!;
        if (!store.Knows(key) && Index.HoldersOf(key) == 0 && !UnderWay.Any(isUnderWay => isUnderWay(key)))
        {
            // A copy may yet come, from a silo that has not heard of the deletion when it sends it.
            Tombstones.BuryAbsent(key, stamp);
            return new Deletion(Remove(key, stamp), Known: false, stamp);
        }

        return new Deletion(Entomb(key, stamp, Audience.Tier), Known: true, stamp);
    }

    /// <summary>Tells everybody of a deletion that somebody knew the block of.</summary>
    /// <param name="key">The block.</param>
    /// <param name="stamp">The latest stamp that any silo gave it.</param>
    public void Announce(BlockKey key, ulong stamp)
    {
        _store!.Witness(stamp);
        Tombstones.Bury(key, stamp);
        Remove(key, stamp);
        Tell(key, stamp);
    }

    /// <summary>Whether what was deleted here stays deleted when the silo is killed now. May wait for a disk, for a while.</summary>
    public bool IsWritten() => Colder?.Wait() ?? true;

    /// <summary>A block was replaced by a generation: everything older is dead.</summary>
    public void Supersede(BlockKey key, ulong generation) => Entomb(key, generation, Audience.Everybody);

    /// <inheritdoc/>
    public void Witness(ulong clock) => _store!.Witness(clock);

    /// <inheritdoc/>
    public void Bury(BlockKey key, ulong stamp) => Entomb(key, stamp, Audience.Nobody);

    /// <inheritdoc/>
    public void RaiseFloor(TenantId tenant, ulong stamp)
    {
        _store!.Witness(stamp);
        Tombstones.RaiseFloor(tenant, stamp);
    }

    /// <summary>Tells everybody that blocks of a tenant were deleted which nobody could name: those on the disks of silos that are away, or
    /// do not read them yet.</summary>
    public void AnnounceForgotten(TenantId tenant, ulong stamp)
    {
        Tombstones.Forget(tenant, stamp);
        Log.Append(new IndexDelta(IndexOperation.Forgotten, new BlockKey(new NamespaceId(tenant, 0), default), stamp));
    }

    /// <inheritdoc/>
    public void Forgotten(TenantId tenant, ulong stamp) => Tombstones.Forget(tenant, stamp);

    /// <inheritdoc/>
    public void KnowsSince(ulong stamp) => Tombstones.KnowsSince(stamp);

    private bool Entomb(BlockKey key, ulong stamp, Audience audience)
    {
        // Witnessed first: a replacing write that the store publishes meanwhile is then above the tombstone, was published before it, or
        // notices that the clock has gone on.
        _store!.Witness(stamp);
        var news = Tombstones.Bury(key, stamp);
        var removed = Remove(key, stamp);
        if (!news)
            return removed;
        if (audience == Audience.Everybody)
        {
            Tell(key, stamp);
            return removed;
        }

        // Heard late, perhaps: what Redis has by now may be younger than the deletion, and whoever deleted has seen to the rest.
        Index.Remove(key, PrefixIndex.RedisHolder);
        if (audience == Audience.Tier)
            Buried?.Invoke(key);
        return removed;
    }

    // Behind its tombstone, so that neither memory nor the tier below takes it in again.
    private bool Remove(BlockKey key, ulong stamp)
    {
        var removed = _store!.Bury(key, stamp);
        if (Colder?.Bury(key, stamp) != true)
            return removed;
        _store.Settle(key);
        return true;
    }

    private void Tell(BlockKey key, ulong stamp)
    {
        Log.Append(new IndexDelta(IndexOperation.Deleted, key, stamp));
        Unpersisted(key);
        Buried?.Invoke(key);
    }

    private enum Audience
    {
        /// <summary>It was heard of from another silo.</summary>
        Nobody,

        /// <summary>What lies outside of memory.</summary>
        Tier,

        /// <summary>The other silos too.</summary>
        Everybody,
    }
}

/// <summary>What deleting a block on one silo did.</summary>
/// <param name="Removed">It was visible there.</param>
/// <param name="Known">It was there in any form, or the index named a holder: the deletion has to be remembered, by everybody.</param>
/// <param name="Stamp">At least the given stamp, and larger than everything that was there.</param>
internal readonly record struct Deletion(bool Removed, bool Known, ulong Stamp);
