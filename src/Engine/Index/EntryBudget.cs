namespace KvCache.Engine.Index;

/// <summary>For whom the index keeps an entry.</summary>
internal enum EntryKind
{
    /// <summary>This silo has the block: the arena bounds how many there are.</summary>
    Own,

    /// <summary>Other silos have it.</summary>
    Silos,

    /// <summary>Only Redis has it.</summary>
    Redis,
}

/// <summary>
/// Counts the entries of all shards, each kind against its own bound: what others have never takes the place of what this silo has, and
/// what
/// Redis is said to have never that of either.
/// </summary>
internal sealed class EntryBudget(int maxSilos, int maxRedis)
{
    private readonly int[] _taken = new int[3];
    private long _refused, _forgotten;

    /// <summary>Entries of all kinds.</summary>
    public int Taken => Of(EntryKind.Own) + Of(EntryKind.Silos) + Of(EntryKind.Redis);

    /// <summary>Blocks of other silos that there was no room for.</summary>
    public long Refused => Volatile.Read(ref _refused);

    /// <summary>Blocks of Redis that were left out, or forgotten for later ones.</summary>
    public long Forgotten => Volatile.Read(ref _forgotten);

    /// <summary>More is known of Redis than there should be: somebody who has a shard's lock is to forget an entry.</summary>
    public bool IsOverRedis => Of(EntryKind.Redis) > maxRedis;

    public int Of(EntryKind kind) => Volatile.Read(ref _taken[(int)kind]);

    /// <summary>Takes an entry. One of Redis is always taken, and another one then goes (<see cref="IsOverRedis"/>).</summary>
    public bool TryTake(EntryKind kind)
    {
        if (Interlocked.Increment(ref _taken[(int)kind]) <= maxSilos || kind != EntryKind.Silos)
            return true;
        Interlocked.Decrement(ref _taken[(int)kind]);
        Interlocked.Increment(ref _refused);
        return false;
    }

    public void Return(EntryKind kind) => Interlocked.Decrement(ref _taken[(int)kind]);

    public void Forget() => Interlocked.Increment(ref _forgotten);

    /// <summary>The same entry is of another kind now, whether there is room or not: it was there.</summary>
    public void Move(EntryKind from, EntryKind to)
    {
        Interlocked.Decrement(ref _taken[(int)from]);
        Interlocked.Increment(ref _taken[(int)to]);
    }
}
