namespace KvCache.SimulationTests.Engine;

/// <summary>Random numbers that are the same on every machine and every version of the runtime (SplitMix64; Steele, Lea and Flood,
/// 2014).</summary>
internal sealed class Dice(ulong seed)
{
    private ulong _state = seed;

    /// <summary>A seed of its own for every part of a schedule, so that leaving one out does not change the others.</summary>
    public static ulong Mix(ulong seed, int part) => new Dice(seed ^ ((ulong)(part + 1) * 0xD1342543DE82EF95)).NextUInt64();

    public ulong NextUInt64()
    {
        var z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>0 to <paramref name="bound"/> - 1.</summary>
    public int Next(int bound) => (int)(NextUInt64() % (uint)bound);

    public bool Chance(int percent) => Next(100) < percent;

    public T Pick<T>(IReadOnlyList<T> items) => items[Next(items.Count)];
}
