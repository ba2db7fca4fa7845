namespace KvCache.Engine.Storage;

/// <content>How long blocks stay: pins and lives.</content>
internal sealed partial class BlockStore
{
    /// <summary>Keeps a block from being evicted.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="duration">How long; zero or less ends the pin.</param>
    /// <returns>False when the block is not visible or pins would exceed their share of the arena, or its tenant's budget.</returns>
    public bool Pin(BlockKey key, TimeSpan duration)
    {
        lock (_lock)
        {
            SweepDeadlines(); // pins that ended no longer count
            if (Find(key) is not { } entry)
                return false;
            if (duration <= TimeSpan.Zero)
            {
                Unpin(entry);
                return true;
            }

            if (entry.PinnedUntil == 0)
            {
                var account = entry.Account;
                if (_counters.PinnedBytes + entry.ArenaBytes > _options.MaxPinnedShare * Arena.Capacity
                    || account.PinnedBytes + entry.ArenaBytes > account.Limits.Pinned
                    || !MayLease(entry))
                    return false;
                _counters.PinnedBytes += entry.ArenaBytes;
                account.PinnedBytes += entry.ArenaBytes;
                ListOf(entry).Remove(entry);
            }

            entry.PinnedUntil = _deadlines.After(duration);
            _deadlines.Add(entry, entry.PinnedUntil);
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

    private void Unpin(BlockEntry entry)
    {
        if (entry.PinnedUntil == 0)
            return;
        entry.PinnedUntil = 0;
        _counters.PinnedBytes -= entry.ArenaBytes;
        entry.Account.PinnedBytes -= entry.ArenaBytes;
        if (entry.Leases == 0)
            ListOf(entry).AddNewest(entry, ++_useClock);
    }

    private void SetDeadline(BlockEntry entry, TimeSpan life)
    {
        Volatile.Write(ref entry.ExpiresAt, _deadlines.After(life));
        _deadlines.Add(entry, entry.ExpiresAt);
    }

    private void SweepDeadlines()
    {
        var now = _deadlines.Now;
        while (_deadlines.TryTakeDue(now, out var entry))
        {
            if (entry.ExpiresAt <= now)
                Expire(entry);
            else if (entry.PinnedUntil != 0 && entry.PinnedUntil <= now)
                Unpin(entry);
        }
    }
}
