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
                return Arena.CommittedBytes - Arena.UsedBytes + _recency.Bytes + _copies.Bytes;
        }
    }

    /// <summary>Evicts everything that can be evicted.</summary>
    /// <returns>Number of blocks evicted.</returns>
    public int Clear()
    {
        lock (_lock)
        {
            var count = 0;
            for (; (_copies.Oldest ?? _recency.Oldest) is { } oldest; count++)
                Evict(oldest);
            return count;
        }
    }

    private RecencyList ListOf(BlockEntry entry) => entry.IsCopy ? _copies : _recency;

    private bool MakeRoomForCopy(int bytes)
    {
        var limit = (long)(_options.MaxCopiedShare * Arena.Capacity) - Arena.RoundUp(bytes);
        while (_counters.CopiedBytes > limit && _copies.Oldest is { } oldest)
            Evict(oldest);
        return _counters.CopiedBytes <= limit;
    }

    private bool MakeRoom(int bytes, out long offset)
    {
        long needed = Arena.RoundUp(bytes), evicted = 0;
        offset = 0;
        if (needed > Arena.CommittedBytes || _evictions.FindWindow(needed).Count == 0)
            return false; // nobody loses a block for a request that is refused anyway

        // The least recently used blocks first. When twice the needed bytes are gone and still no run is long enough,
        // memory is fragmented: then blocks go that lie side by side.
        while (evicted < 2 * needed && _evictions.SelectVictim() is { } victim)
        {
            evicted += Evict(victim);
            if (Arena.TryAllocate(bytes, out offset))
                return true;
        }

        _evictions.FindWindow(needed).ForEach(entry => Evict(entry));
        return Arena.TryAllocate(bytes, out offset);
    }

    private long Evict(BlockEntry entry)
    {
        RemoveEntry(entry);
        _counters.Evicted++;
        _counters.EvictedBytes += entry.Length;
        return entry.ArenaBytes;
    }
}
