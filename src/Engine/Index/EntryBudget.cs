namespace KvCache.Engine.Index;

/// <summary>Counts the entries of all shards against one bound.</summary>
internal sealed class EntryBudget(int max)
{
    private int _taken;
    private long _refused;

    public int Taken => Volatile.Read(ref _taken);

    public long Refused => Volatile.Read(ref _refused);

    public bool TryTake()
    {
        if (Interlocked.Increment(ref _taken) <= max)
            return true;
        Interlocked.Decrement(ref _taken);
        Interlocked.Increment(ref _refused);
        return false;
    }

    public void Return() => Interlocked.Decrement(ref _taken);
}
