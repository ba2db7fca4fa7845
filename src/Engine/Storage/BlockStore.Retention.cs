namespace KvCache.Engine.Storage;

/// <content>How long blocks stay: pins and lives.</content>
internal sealed partial class BlockStore
{
    private const int MostSwept = 16_384; // a quarter of what the log of changes keeps

    /// <summary>Keeps a block from being evicted.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="duration">How long; zero or less ends the pin.</param>
    /// <returns>False when the block is not visible or pins would exceed their share of the arena, or its tenant's budget.</returns>
    public bool Pin(BlockKey key, TimeSpan duration)
    {
        using (Enter())
        {
            SweepDeadlines(Slice); // pins that ended no longer count
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
                    || !MayPin(entry))
                    return false;
                _counters.PinnedBytes += entry.ArenaBytes;
                account.PinnedBytes += entry.ArenaBytes;
                _nodes.Lock(entry.Node);
            }

            entry.PinnedUntil = _deadlines.After(duration);
            _deadlines.Update(entry);
            return true;
        }
    }

    /// <summary>Whether a visible block is kept from being evicted.</summary>
    public bool IsPinned(BlockKey key) => Look(key) is { } entry && Volatile.Read(ref entry.PinnedUntil) != 0;

    /// <summary>Sets the life of a block, from now on; <see cref="TimeSpan.MaxValue"/> is for as long as memory lasts.</summary>
    /// <returns>False when the block is not visible.</returns>
    public bool SetTimeToLive(BlockKey key, TimeSpan timeToLive)
    {
        using (Enter())
        {
            if (Find(key) is not { } entry)
                return false;
            SetDeadline(entry, timeToLive);
            return true;
        }
    }

    /// <summary>
    /// Drops expired blocks and ends pins whose time is over. Reserving does it too, as far as it needs memory; a timer makes idle stores
    /// do it.
    /// </summary>
    /// <remarks>
    /// In slices, so that nobody waits for long, and no more at once than others can be told of: those who follow this store's log would
    /// need a copy of all of it if more went in a moment than it keeps.
    /// </remarks>
    /// <returns>Whether more is due.</returns>
    public bool Sweep()
    {
        for (var swept = 0; swept < MostSwept; swept += Slice)
        {
            using (Enter())
            {
                if (SweepDeadlines(Slice) < Slice)
                    return false;
            }

            LetOthersIn();
        }

        return true;
    }

    private void Unpin(BlockEntry entry)
    {
        if (entry.PinnedUntil == 0)
            return;
        entry.PinnedUntil = 0;
        _counters.PinnedBytes -= entry.ArenaBytes;
        entry.Account.PinnedBytes -= entry.ArenaBytes;
        _deadlines.Update(entry);
        _nodes.Unlock(entry.Node);
    }

    private void SetDeadline(BlockEntry entry, TimeSpan life)
    {
        Volatile.Write(ref entry.ExpiresAt, life == TimeSpan.MaxValue ? long.MaxValue : _deadlines.After(life));
        _deadlines.Update(entry);
    }

    private int SweepDeadlines(int most)
    {
        var now = _deadlines.Entered;
        var count = 0;
        for (; count < most && _deadlines.TryPeekDue(now, out var entry); count++)
        {
            if (entry.ExpiresAt <= now)
                Expire(entry);
            else
                Unpin(entry);
        }

        return count;
    }
}
