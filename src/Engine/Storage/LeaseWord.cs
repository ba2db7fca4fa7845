namespace KvCache.Engine.Storage;

/// <summary>
/// The leases of a block and whether more are given, in one word: readers take and release leases without the store's lock, and whoever
/// frees the memory asks the same word.
/// </summary>
/// <remarks>
/// <para>Closed is for good, and the count of a closed word only falls. So memory is freed exactly once: by who closes it when there is no
/// lease, else by who releases the last one.</para>
/// <para>Whether the store was told that there are leases changes under its lock only. Who releases the last lease of which it was told
/// tells it; of leases that come and go between two looks it hears nothing.</para>
/// </remarks>
internal struct LeaseWord
{
    private const int Closed = int.MinValue, Told = 1 << 30, Count = Told - 1;

    private int _word;

    /// <summary>Leases that are held now.</summary>
    public readonly int Leases => Volatile.Read(in _word) & Count;

    /// <summary>Whether the store was told that there are some.</summary>
    public readonly bool IsTold => (Volatile.Read(in _word) & Told) != 0;

    /// <summary>Takes a lease. Any thread.</summary>
    /// <returns>False when it is closed.</returns>
    public bool TryTake()
    {
        for (var known = Volatile.Read(ref _word); known >= 0;)
        {
            var before = Interlocked.CompareExchange(ref _word, known + 1, known);
            if (before == known)
                return true;
            known = before;
        }

        return false;
    }

    /// <summary>Releases a lease. Any thread.</summary>
    /// <returns>What the caller has to do behind it.</returns>
    public LeaseEnd Release()
    {
        var now = Interlocked.Decrement(ref _word);
        return (now & Count) != 0 || now == 0 ? LeaseEnd.Quiet : now < 0 ? LeaseEnd.LastOfClosed : LeaseEnd.LastThatWasTold;
    }

    /// <summary>Closes it if there is no lease. Under the store's lock.</summary>
    public bool TryClose() => Interlocked.CompareExchange(ref _word, Closed, 0) == 0;

    /// <summary>Closes it. Under the store's lock. Leases that are still held count as told.</summary>
    /// <returns>Whether there are leases, and whether the store was told of them before.</returns>
    public (bool Leased, bool Told) Close()
    {
        for (var known = Volatile.Read(ref _word); ;)
        {
            var closed = (known & Count) == 0 ? Closed : known | Closed | Told;
            var before = Interlocked.CompareExchange(ref _word, closed, known);
            if (before == known)
                return ((known & Count) != 0, (known & Told) != 0);
            known = before;
        }
    }

    /// <summary>Tells the store, under its lock, whether there are leases.</summary>
    /// <returns>1 when there are and it did not know, -1 when there are no more, 0 when it knew.</returns>
    public int Tell()
    {
        for (var known = Volatile.Read(ref _word); known >= 0;)
        {
            var leased = (known & Count) != 0;
            if (leased == ((known & Told) != 0))
                return 0;
            var before = Interlocked.CompareExchange(ref _word, known ^ Told, known);
            if (before == known)
                return leased ? 1 : -1;
            known = before;
        }

        return 0;
    }
}

/// <summary>What is to be done behind the release of a lease.</summary>
internal enum LeaseEnd : byte
{
    /// <summary>Nothing.</summary>
    Quiet,

    /// <summary>The store has to hear of it.</summary>
    LastThatWasTold,

    /// <summary>The memory has to be freed.</summary>
    LastOfClosed,
}
