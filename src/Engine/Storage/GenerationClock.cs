namespace KvCache.Engine.Storage;

/// <summary>
/// Ids of writes and stamps of deletions: Unix milliseconds shifted left by <see cref="Shift"/> bits, a count, and a random number of this
/// store. Each is larger than every id that this clock has given or seen (a hybrid logical clock; Kulkarni et al., "Logical Physical
/// Clocks", OPODIS 2014), so that ids of several silos can be compared. Thread-safe.
/// </summary>
/// <param name="time">The wall clock.</param>
/// <param name="random">Gives the random parts.</param>
internal sealed class GenerationClock(TimeProvider time, Random random)
{
    /// <summary>Bits of a generation below its milliseconds.</summary>
    public const int Shift = 20;

    private const int StoreIdBits = 12;

    private readonly Lock _lock = new();
    private readonly ulong _id = (ulong)random.Next(1 << StoreIdBits);
    private ulong _last;

    /// <summary>The latest id that was given or seen.</summary>
    public ulong Last => Volatile.Read(ref _last);

    /// <summary>A new id.</summary>
    /// <remarks>
    /// 8 bits of a millisecond are counted, from a random number on; who gives away more borrows from the next one. The rest names the
    /// store: one whose clock is behind goes on from an id that it has seen, and so does the store that gave it.
    /// </remarks>
    public ulong Next()
    {
        var clock = (ulong)(time.GetUtcNow().UtcTicks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond << Shift;
        lock (_lock)
        {
            var counted = _last >= clock
                ? (_last >> StoreIdBits) + 1
                : (clock >> StoreIdBits) | (uint)random.Next(1 << (Shift - StoreIdBits - 1));
            return Set((counted << StoreIdBits) | _id);
        }
    }

    /// <summary>A stamp that another clock gave, or a later one if this clock has given or seen later ids.</summary>
    public ulong From(ulong stamp)
    {
        lock (_lock)
            return Set(_last > stamp ? (((_last >> StoreIdBits) + 1) << StoreIdBits) | _id : stamp);
    }

    /// <summary>Takes notice of an id of another clock: later ids of this one are larger.</summary>
    public void Witness(ulong generation)
    {
        if (Last >= generation)
            return;
        lock (_lock)
            Set(Math.Max(_last, generation));
    }

    private ulong Set(ulong last)
    {
        Volatile.Write(ref _last, last);
        return last;
    }
}
