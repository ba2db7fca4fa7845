using KvCache.Engine.Storage;

namespace KvCache.Silo.Tiers;

/// <summary>
/// Lives of blocks that were set a moment ago. What was sent by another silo, or read from Redis, before the new life got there brings the
/// old one along: it gets the new one when it becomes visible here.
/// </summary>
/// <remarks>
/// <para>A new life is stamped as a deletion is, and counts for generations below its stamp: who stores the block anew says for
/// himself how long it lives. Of two that meet, every silo keeps the one with the later stamp.</para>
/// <para>It is remembered for longer than anything is on its way; at most <see cref="MaxRemembered"/> of them. Thread-safe.</para>
/// </remarks>
internal sealed class RecentLives(BlockStore store, TimeProvider time)
{
    /// <summary>Most lives that are remembered; the oldest make room.</summary>
    public const int MaxRemembered = 1 << 16;

    /// <summary>How long a life is remembered: no fetch from a silo and no read from Redis takes as long.</summary>
    public static readonly TimeSpan Remembered = TimeSpan.FromMinutes(1);

    // Taken around the store's lock, so that nothing becomes visible between a look and what follows from it.
    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, NewLife> _lives = [];
    private readonly Queue<NewLife> _byAge = [];

    /// <summary>Lives that are remembered.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
                return _lives.Count;
        }
    }

    /// <summary>Sets the life of a block from now on: where it is in memory, and when it becomes visible.</summary>
    /// <param name="key">The block.</param>
    /// <param name="timeToLive">Its life.</param>
    /// <param name="stamp">Stamp of the change.</param>
    /// <returns>Whether the block is visible here.</returns>
    public bool Set(BlockKey key, TimeSpan timeToLive, ulong stamp)
    {
        var below = store.StampFrom(stamp); // what is here, or was heard of, is older
        lock (_lock)
        {
            Forget();
            if (_lives.TryGetValue(key, out var known) && known.Stamp > stamp)
                return store.Contains(key);
            var life = new NewLife(key, stamp, below, timeToLive, time.GetTimestamp());
            _lives[key] = life;
            _byAge.Enqueue(life);
            return store.SetTimeToLive(key, timeToLive);
        }
    }

    /// <summary>What is left of the life of a block that is on its way here; null for no end.</summary>
    /// <param name="key">The block.</param>
    /// <param name="generation">Its generation.</param>
    /// <param name="told">What is left of it as its holder, or Redis, says.</param>
    public TimeSpan? LeftOf(BlockKey key, ulong generation, TimeSpan? told)
    {
        lock (_lock)
            return Left(key, generation, told);
    }

    /// <summary>Makes a block visible that another silo or Redis had.</summary>
    /// <param name="write">The block.</param>
    /// <param name="told">What is left of its life as its holder, or Redis, says; null for no end.</param>
    /// <param name="durability">What its writer asked for.</param>
    /// <returns>Null when its life is over.</returns>
    public PublishOutcome? Publish(BlockWrite write, TimeSpan? told, BlockDurability durability)
    {
        lock (_lock)
        {
            var left = Left(write.Key, write.Generation, told);
            return left <= TimeSpan.Zero ? null : store.Publish(write.Key, write.Generation, left, durability);
        }
    }

    private TimeSpan? Left(BlockKey key, ulong generation, TimeSpan? told)
    {
        if (!_lives.TryGetValue(key, out var life) || generation >= life.Below)
            return told;
        TimeSpan? left = life.TimeToLive == TimeSpan.MaxValue ? null : life.TimeToLive - time.GetElapsedTime(life.SetAt);

        // Between the two stamps it may have been stored behind the change, by a silo whose clock is behind: nothing becomes longer by it.
        return generation < life.Stamp || left < (told ?? TimeSpan.MaxValue) ? left : told;
    }

    private void Forget()
    {
        while (_byAge.TryPeek(out var oldest)
            && (_byAge.Count >= MaxRemembered || time.GetElapsedTime(oldest.SetAt) > Remembered))
        {
            _byAge.Dequeue();
            if (_lives.TryGetValue(oldest.Key, out var latest) && latest == oldest)
                _lives.Remove(oldest.Key);
        }
    }

    private sealed record NewLife(BlockKey Key, ulong Stamp, ulong Below, TimeSpan TimeToLive, long SetAt);
}
