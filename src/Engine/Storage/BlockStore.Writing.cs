using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <content>Storing blocks.</content>
internal sealed partial class BlockStore
{
    /// <summary>Reserves memory for a block, evicting others when the arena is full.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="lineage">Where the block stands in its prefix.</param>
    /// <param name="generation">Id that a copy brings along from the tier that it is read from; null for a new write.</param>
    /// <param name="copy">The block is held by another silo too: it is evicted first, and such copies have a bounded share of the
    /// arena.</param>
    /// <param name="request">The request, from <see cref="BeginRequest(NamespaceId, BlockHash, ReadOnlySpan{BlockHash}, in
    /// RequestFacts)"/>; 0 when nobody has named it.</param>
    /// <returns>The reservation, or null when there is no room for it, or that generation is being written already.</returns>
    public BlockWrite? TryReserve(
        BlockKey key, KvLayout layout, BlockLineage lineage, ulong? generation = null, bool copy = false, long request = 0)
    {
        var id = generation ?? _clock.Next();
        using (Enter())
            return Reserve(key, null, layout, lineage, id, generation is not null, copy, request, insists: generation is not null, out _);
    }

    /// <summary>As the other one, for a new write; tells why there is no room.</summary>
    public BlockWrite? TryReserve(BlockKey key, KvLayout layout, BlockLineage lineage, long request, out NoRoom refusal)
    {
        var id = _clock.Next();
        using (Enter())
            return Reserve(key, null, layout, lineage, id, isKnown: false, copy: false, request, insists: false, out refusal);
    }

    /// <summary>Reserves memory for a block that is neither stored nor being written here, or that is to replace it, evicting others when
    /// the arena is full.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="lineage">Where the block stands in its prefix.</param>
    /// <param name="replace">A stored block, or another write, does not stand in the way, and this write in nobody's.</param>
    /// <param name="write">The reservation, when there is one. Until it ends, or is revoked, no other one of its key is given, but for
    /// those that replace.</param>
    /// <param name="request">The request; see <see cref="TryReserve(BlockKey, KvLayout, BlockLineage, ulong?, bool, long)"/>.</param>
    /// <param name="insists">Whether it takes the place even of what is worth more.</param>
    public BeginOutcome TryBegin(
        BlockKey key, KvLayout layout, BlockLineage lineage, bool replace, out BlockWrite? write, long request = 0, bool insists = false)
    {
        write = null;
        if (!replace && Look(key) is not null)
            return BeginOutcome.AlreadyStored;
        var id = _clock.Next();
        using (Enter())
        {
            var node = _nodes.Find(in key);
            if (!replace && node?.Entry is not null)
            {
                if (Find(node) is not null)
                    return BeginOutcome.AlreadyStored;
                node = _nodes.Find(in key); // its block was at the end of its life, and perhaps the node was there for its sake alone
            }

            if (!replace && node?.Writer is not null)
                return BeginOutcome.BeingWritten;

            write = Reserve(
                key, node, layout, lineage, id, isKnown: false, copy: false, request, insists || replace, out var refusal);
            if (write is null)
            {
                return refusal switch
                {
                    NoRoom.Prefix => BeginOutcome.NoRoomInPrefix,
                    NoRoom.Share => BeginOutcome.NoRoomInShare,
                    NoRoom.Worth => BeginOutcome.NotWorthRoom,
                    _ => BeginOutcome.NoMemory,
                };
            }

            if (!replace)
                write.Node.Writer = write;
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
        using (Enter())
        {
            // A silo that stood still may have missed deletions, and what replaces would be newer than they are.
            if (_closed || Term.IsOver || FindWrite(key, generation) is not { Revoked: false } write)
                return PublishOutcome.Gone;
            var node = write.Node;
            var outcome = MakeVisible(write, replace, timeToLive, durability);
            node.IsReplacing = false;
            EndWrite(write);
            if (outcome != PublishOutcome.Published)
                Close(write.Entry); // it was never visible
            _nodes.DropUnused(node);
            return outcome;
        }
    }

    private PublishOutcome MakeVisible(BlockWrite write, bool replace, TimeSpan? timeToLive, BlockDurability durability)
    {
        var (entry, node) = (write.Entry, write.Node);
        bool dead;
        do
        {
            if (replace)
                entry.Generation = _clock.Next();
            dead = _observer?.MayPublish(node.Key, entry.Generation) == false;
        }
        while (dead && replace && _clock.Last > entry.Generation); // a later stamp was heard of between the two: this comes behind it

        if (!dead && replace && Find(node) is { } older)
        {
            node.IsReplacing = true;
            RemoveEntry(older, evicted: false);
            _counters.Deleted++;
        }

        write.End = dead ? WriteEnd.Failed : WriteEnd.Complete;
        if (dead || Find(node) is not null)
            return dead ? PublishOutcome.Gone : PublishOutcome.AlreadyStored;
        TellLeases(entry); // of followers that are still there
        entry.State = BlockState.Sealed;
        entry.Durability = durability;
        entry.LastUse = ++_useClock;
        if (timeToLive is { } life)
            SetDeadline(entry, life);
        Volatile.Write(ref node.Entry, entry);
        _counters.Blocks++;
        _counters.BlockBytes += entry.Length;
        _counters.Published++;
        node.Account.Blocks++;
        if (!entry.IsCopy)
        {
            node.Account.WrittenBlocks++;
            node.Account.WrittenTokens += entry.Layout.TokensPerBlock;
        }

        var now = _deadlines.EnteredMilliseconds;
        ref var running = ref RequestOf(node, node.Parent, write.Request, entry.Layout.TokensPerBlock, entry.Lineage, now);
        running.Use.Now = now;
        BlocksOf(node.Account).Add(node, running.Use);
        if (entry.Leases.IsTold)
            _nodes.Lock(node);
        _observer?.Published(node.Key, entry.Generation, replace);
        return PublishOutcome.Published;
    }

    /// <summary>Whether a write is running: reserved, and neither published, given back nor revoked.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    public bool IsWriting(BlockKey key, ulong generation)
    {
        using (Enter())
            return FindWrite(key, generation) is { Revoked: false };
    }

    /// <summary>
    /// Keeps a running write from ever becoming visible. Its memory stays with the writer until it gives it back. A write of another key is
    /// left alone: an id is easily guessed, and must not end what somebody else stores.
    /// </summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="generation">Id of the write.</param>
    public void Revoke(BlockKey key, ulong generation)
    {
        using (Enter())
        {
            if (FindWrite(key, generation) is not { } write)
                return;
            write.Revoked = true;
            write.End = WriteEnd.Failed;
            EndWriter(write);
        }
    }

    internal void Abandon(BlockWrite write)
    {
        if (write.HasEnded)
            return;
        using (Enter())
        {
            if (write.HasEnded)
                return;
            write.End = WriteEnd.Failed;
            EndWrite(write);
            Close(write.Entry);
            _nodes.DropUnused(write.Node);
        }
    }

    // Under the lock. A chain keeps its head: a block whose prefix has ended here takes nobody's memory, unless it has to come.
    private BlockWrite? Reserve(
        BlockKey key, BlockNode? node, KvLayout layout, in BlockLineage lineage, ulong generation, bool isKnown, bool copy, long request,
        bool insists, out NoRoom refusal)
    {
        refusal = NoRoom.InUse;
        if (_closed || (isKnown && FindWrite(key, generation) is not null))
            return null;
        if (isKnown)
            _clock.Witness(generation);
        node = _nodes.GetOrAdd(node, key, lineage.Parent);
        var (account, before) = (node.Account, node.Parent);
        var path = BlockNodes.BytesToLock(before);
        ref var running = ref RequestOf(node, before, request, layout.TokensPerBlock, lineage, _deadlines.EnteredMilliseconds);
        var use = running.Use;
        running.Tail = node;
        if (node.Entry is null)
            node.Request = use.Request;
        _nodes.Lock(before);
        node.IsReserving = true; // its own older block may go
        var claim = insists || before is null ? Claim.Insists
            : before is { Entry: not null } or { Writes: not null } || _observer?.IsElsewhere(before.Key) == true ? Claim.Worth
            : Claim.Orphan;
        var found = TryAllocate(node, layout, use, copy, path, claim, out var offset, out refusal);
        node.IsReserving = false;
        if (found)
            return AddWrite(new BlockEntry(node, layout, generation, offset, lineage, copy), use.Request);
        _nodes.Unlock(before);
        if (node.Entry is null)
            BlocksOf(account).Policy.Pass(new ArrivingBlock(node.Fingerprint, -1, Partial: false), use);
        _nodes.DropUnused(node);
        _counters.Refused++;
        account.Refused++;
        return null;
    }

    private bool TryAllocate(
        BlockNode node, KvLayout layout, in ChainUse use, bool copy, long path, Claim claim, out long offset, out NoRoom refusal)
    {
        offset = 0;
        var account = node.Account;
        var needed = Arena.RoundUp(layout.BlockBytes);
        refusal = NoRoom.InUse;
        if (needed > Arena.Capacity)
            return false; // it is not for its tenant's sake
        if (!account.MayWrite(needed, path) || !MakeRoomInAccount(account, needed))
        {
            refusal = NoRoom.Share;
            return false;
        }

        refusal = copy && !MakeRoomForCopy(account, needed) ? NoRoom.Share : Allocate(node, layout.BlockBytes, use, claim, out offset);
        WatchFree(needed);
        return refusal == NoRoom.None;
    }

    private BlockWrite AddWrite(BlockEntry entry, long request)
    {
        entry.State = BlockState.Writing;
        entry.Account.UsedBytes += entry.ArenaBytes;
        entry.Account.WritingBytes += entry.ArenaBytes;
        if (entry.IsCopy)
            _counters.CopiedBytes += entry.ArenaBytes;
        var write = new BlockWrite(this, entry, request) { NextOfKey = entry.Node.Writes };
        _byOffset.Add(entry);
        _counters.Writing++;
        entry.Node.Writes = write;
        return write;
    }

    private BlockWrite? FindWrite(in BlockKey key, ulong generation)
    {
        var write = _nodes.Find(in key)?.Writes;
        while (write is not null && write.Generation != generation)
            write = write.NextOfKey;
        return write;
    }

    private void EndWrite(BlockWrite write)
    {
        write.HasEnded = true;
        _counters.Writing--;
        Unchain(write);
        write.Entry.Account.WritingBytes -= write.Entry.ArenaBytes;
        _followed.Remove(write);
        EndWriter(write);
        _nodes.Unlock(write.Behind);
    }

    private static void Unchain(BlockWrite write)
    {
        if (write.Node.Writes == write)
        {
            write.Node.Writes = write.NextOfKey;
            return;
        }

        var before = write.Node.Writes!;
        while (before.NextOfKey != write)
            before = before.NextOfKey!;
        before.NextOfKey = write.NextOfKey;
    }

    private static void EndWriter(BlockWrite write)
    {
        if (write.Node.Writer == write)
            write.Node.Writer = null;
    }
}
