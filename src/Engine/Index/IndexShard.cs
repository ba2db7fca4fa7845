using System.Numerics;
using KvCache.Hashing;

namespace KvCache.Engine.Index;

/// <summary>
/// A part of the index with its own lock. Writers take the lock; readers take nothing: they probe, and probe again when a
/// writer moved entries meanwhile (a sequence lock, as in the Linux kernel).
/// </summary>
internal sealed class IndexShard(EntryBudget budget)
{
    private const int OptimisticReads = 8;
    private const ulong SelfBit = 1UL << BlockDirectory.Self;
    private const ulong RedisBit = 1UL << PrefixIndex.RedisHolder;

    // Entries that could go and are looked at for one that was not confirmed since the last scan began, and entries that are looked at for
    // those.
    private const int Candidates = 16, MaxSteps = 4096;

    private readonly Lock _lock = new();
    private readonly int[] _perHolder = new int[PrefixIndex.MaxHolders];
    private IndexTable _table = new(IndexTable.MinCapacity);
    private int _count;
    private int _hand; // where the search for an entry to forget goes on
    private uint _version; // odd while entries move

    public long Bytes => Volatile.Read(ref _table).Bytes + (PrefixIndex.MaxHolders * sizeof(int));

    public int CountOf(int holder) => Volatile.Read(ref _perHolder[holder]);

    public void Prefetch(ulong hash) => Volatile.Read(ref _table).Prefetch(hash);

    public ulong HoldersOf(ref readonly BlockKey key, ulong hash)
    {
        for (var attempt = 0; attempt < OptimisticReads; attempt++)
        {
            var version = Volatile.Read(ref _version);
            if ((version & 1) == 0)
            {
                var holders = Probe(in key, hash);
                Volatile.ReadBarrier();
                if (Volatile.Read(ref _version) == version)
                    return holders;
            }

            Thread.SpinWait(4 << attempt);
        }

        lock (_lock)
            return Probe(in key, hash);
    }

    public bool Add(ref readonly BlockKey key, ulong hash, int holder)
    {
        var bit = 1UL << holder;
        lock (_lock)
        {
            var slot = _table.Find(in key, hash);
            if (slot >= 0)
            {
                ref var entry = ref _table[slot];
                entry.Marks |= bit;
                if ((entry.Holders & bit) != 0)
                    return false;
                EntryKind before = KindOf(entry.Holders), after = KindOf(entry.Holders | bit);
                if (before != after)
                {
                    if (!budget.TryTake(after, key.Namespace.Tenant))
                        return false;
                    budget.Return(before, key.Namespace.Tenant);
                }

                // One aligned word: a reader sees the mask before or after, and either is right.
                entry.Holders |= bit;
            }
            else
            {
                if (!budget.TryTake(KindOf(bit), key.Namespace.Tenant))
                    return false;
                if (_count == _table.MaxCount)
                {
                    Resize(_table.Capacity + (_table.Capacity / 2));
                    slot = _table.Find(in key, hash);
                }

                BeginMove();
                _table[~slot] = new IndexEntry { Key = key, Holders = bit, Marks = bit };
                EndMove();
                _count++;
            }

            _perHolder[holder]++;
            // Two for one: blocks that leave this silo's memory count against the bounds too, and nothing goes for them then.
            for (var i = 0; i < 2 && budget.IsOver(EntryKind.Redis); i++)
                Forget(EntryKind.Redis, in key);
            for (var i = 0; i < 2 && budget.IsOver(EntryKind.Silos); i++)
                Forget(EntryKind.Silos, in key);
            return true;
        }
    }

    public bool Remove(ref readonly BlockKey key, ulong hash, int holder)
    {
        lock (_lock)
        {
            var slot = _table.Find(in key, hash);
            if (slot < 0 || (_table[slot].Holders & (1UL << holder)) == 0)
                return false;
            Clear(slot, holder);
            return true;
        }
    }

    public void Unmark(int holder)
    {
        lock (_lock)
        {
            if (_perHolder[holder] == 0)
                return;
            for (var slot = 0; slot < _table.Capacity; slot++)
                _table[slot].Marks &= ~(1UL << holder);
        }
    }

    /// <summary>Removes a holder from its entries: from all, or from those without its mark.</summary>
    public int Sweep(int holder, bool keepMarked)
    {
        var bit = 1UL << holder;
        lock (_lock)
        {
            if (_perHolder[holder] == 0)
                return 0;
            var removed = 0;
            for (var slot = 0; slot < _table.Capacity;)
            {
                ref var entry = ref _table[slot];
                if ((entry.Holders & bit) == 0 || (keepMarked && (entry.Marks & bit) != 0))
                {
                    slot++;
                    continue;
                }

                // What moves into the slot is looked at next. At the end of the table that may be an entry from its
                // start, which was swept already.
                Clear(slot, holder);
                removed++;
            }

            // To the load that growing leaves (8/15), so that the slack is bounded alike.
            if (_count < _table.MaxCount / 4)
                Resize(Math.Max(IndexTable.MinCapacity, (int)(_count * 15L / 8)));
            return removed;
        }
    }

    public void CopyKeys(Func<NamespaceId, bool> isWanted, ICollection<BlockKey> keys)
    {
        lock (_lock)
        {
            for (var slot = 0; slot < _table.Capacity; slot++)
            {
                ref var entry = ref _table[slot];
                if (entry.Holders != 0 && isWanted(entry.Key.Namespace))
                    keys.Add(entry.Key);
            }
        }
    }

    public void CopyKeys(int holder, ICollection<BlockKey> keys)
    {
        lock (_lock)
        {
            if (_perHolder[holder] == 0)
                return;
            for (var slot = 0; slot < _table.Capacity; slot++)
            {
                ref var entry = ref _table[slot];
                if ((entry.Holders & (1UL << holder)) != 0)
                    keys.Add(entry.Key);
            }
        }
    }

    private ulong Probe(ref readonly BlockKey key, ulong hash)
    {
        var table = _table;
        var slot = table.Find(in key, hash);
        return slot < 0 ? 0 : table[slot].Holders;
    }

    private void Clear(int slot, int holder)
    {
        ref var entry = ref _table[slot];
        var bit = 1UL << holder;
        var before = KindOf(entry.Holders);
        _perHolder[holder]--;
        entry.Marks &= ~bit;
        var tenant = entry.Key.Namespace.Tenant;
        if (entry.Holders != bit)
        {
            entry.Holders &= ~bit;
            var after = KindOf(entry.Holders);
            if (after != before)
                budget.Move(before, after, tenant);
            return;
        }

        BeginMove();
        _table.Free(slot);
        EndMove();
        _count--;
        budget.Return(before, tenant);
    }

    // An entry of a tenant that has more than its part, not the one that has just come unless nothing else is found.
    private void Forget(EntryKind kind, ref readonly BlockKey newest)
    {
        int victim = -1, any = -1, seen = 0;
        (TenantId Tenant, bool IsAbove)? last = null;
        for (var step = 0; step < Math.Min(_table.Capacity, MaxSteps) && seen < Candidates; step++)
        {
            _hand = _hand + 1 >= _table.Capacity ? 0 : _hand + 1;
            ref var entry = ref _table[_hand];
            if (entry.Holders == 0 || KindOf(entry.Holders) != kind
                || (entry.Key.Hash == newest.Hash && entry.Key.Namespace == newest.Namespace))
                continue;
            var tenant = entry.Key.Namespace.Tenant;
            if (last?.Tenant != tenant)
                last = (tenant, budget.IsAbovePart(kind, tenant));
            if (any < 0)
                any = _hand;
            if (!last.Value.IsAbove)
                continue;
            var isConfirmed = (entry.Marks & RedisBit) != 0;
            if (seen++ == 0 || !isConfirmed)
                victim = _hand;
            if (!isConfirmed)
                break;
        }

        if (victim < 0 && budget.IsAbovePart(kind, newest.Namespace.Tenant))
            victim = _table.Find(in newest, KeyHash.Of(in newest));
        if (victim < 0 && budget.IsFarOver(kind))
            victim = any;
        if (victim < 0 || KindOf(_table[victim].Holders) != kind)
            return; // another shard has one
        budget.Forget();
        var keep = kind == EntryKind.Silos ? RedisBit : 0;
        for (var bits = _table[victim].Holders & ~keep; bits != 0; bits &= bits - 1)
            Clear(victim, BitOperations.TrailingZeroCount(bits));
    }

    private static EntryKind KindOf(ulong holders) =>
        (holders & SelfBit) != 0 ? EntryKind.Own : (holders & ~RedisBit) != 0 ? EntryKind.Silos : EntryKind.Redis;

    // Readers of the old table need not be told: nothing changes in it any more, and it says the same.
    private void Resize(int capacity) => Volatile.Write(ref _table, _table.Resized(capacity));

    private void BeginMove()
    {
        _version++;
        Volatile.WriteBarrier();
    }

    private void EndMove() => Volatile.Write(ref _version, _version + 1);
}
