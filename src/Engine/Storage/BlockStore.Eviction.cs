namespace KvCache.Engine.Storage;

/// <content>Making room.</content>
internal sealed partial class BlockStore
{
    /// <summary>Memory that a write could get, in bytes: what is free, and what could be evicted for it.</summary>
    public long AvailableBytes
    {
        get
        {
            lock (_lock)
                return Arena.CommittedBytes - Arena.UsedBytes + Accounts.Evictable.Bytes;
        }
    }

    /// <summary>Evicts everything that can be evicted.</summary>
    /// <returns>Number of blocks evicted.</returns>
    public int Clear()
    {
        lock (_lock)
        {
            var count = 0;
            foreach (var account in Accounts.All)
            {
                for (; (account.Copies.Oldest ?? account.Recency.Oldest) is { } oldest; count++)
                    Evict(oldest);
            }

            return count;
        }
    }

    private static RecencyList ListOf(BlockEntry entry) => entry.IsCopy ? entry.Account.Copies : entry.Account.Recency;

    // A tenant at its cap makes room among its own.
    private bool MakeRoomInAccount(TenantAccount account, int bytes)
    {
        long needed = Arena.RoundUp(bytes), cap = account.Limits.Cap;
        if (needed > cap)
            return false;
        if (account.UsedBytes + needed > cap && account.MayWriteWithin(needed))
        {
            while (account.UsedBytes + needed > cap && _evictions.SelectOwn(account) is { } victim)
                Evict(victim);
        }

        return account.MayWrite(needed);
    }

    private bool MakeRoomForCopy(TenantAccount account, int bytes)
    {
        long needed = Arena.RoundUp(bytes), limit = (long)(_options.MaxCopiedShare * Arena.Capacity) - needed;
        while (_counters.CopiedBytes > limit && _evictions.SelectCopy(account, needed) is { } oldest)
            Evict(oldest);
        return _counters.CopiedBytes <= limit;
    }

    private bool MakeRoom(TenantAccount account, int bytes, out long offset)
    {
        long needed = Arena.RoundUp(bytes), evicted = 0;
        offset = 0;
        if (needed > Arena.CommittedBytes || _evictions.FindWindow(account, needed).Count == 0)
            return false; // nobody loses a block for a request that is refused anyway

        // The least recently used blocks first. When twice the needed bytes are gone and still no run is long enough,
        // memory is fragmented: then blocks go that lie side by side.
        while (evicted < 2 * needed && _evictions.SelectVictim(account, needed) is { } victim)
        {
            evicted += Evict(victim);
            if (Arena.TryAllocate(bytes, out offset))
                return true;
        }

        _evictions.FindWindow(account, needed).ForEach(entry => Evict(entry));
        return Arena.TryAllocate(bytes, out offset);
    }

    private long Evict(BlockEntry entry)
    {
        RemoveEntry(entry);
        _counters.Evicted++;
        _counters.EvictedBytes += entry.Length;
        entry.Account.Evicted++;
        return entry.ArenaBytes;
    }
}
