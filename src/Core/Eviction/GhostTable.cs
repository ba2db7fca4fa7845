using System.Runtime.CompilerServices;

namespace KvCache.Eviction;

/// <summary>What is remembered of a block after it went.</summary>
internal struct Trail
{
    public long Touched;
    public ushort Class;
    public byte Touches;
    public byte Level;
}

/// <summary>
/// Remembers blocks that went, 12 bytes each, by fingerprint: sets of eight, in each of which the one that was touched longest ago is
/// forgotten first. Two of 4 billion fingerprints are taken for the same, which costs a wrong guess.
/// </summary>
internal sealed class GhostTable
{
    private const int Ways = 8;
    private const int UnitBits = 4; // times in units of 16 ms: 32 bits are two years
    private const int SetsOfPage = 512;
    private readonly Entry[]?[] _pages; // each made when it is needed: a large table costs nobody who waits a pause
    private readonly uint _sets;

    private struct Entry
    {
        public uint Tag; // 0 = free
        public uint Touched;
        public ushort Class;
        public byte Touches;
        public byte Level;
    }

    /// <param name="capacity">Blocks that it remembers.</param>
    public GhostTable(int capacity)
    {
        _sets = (uint)Math.Max(1, (capacity + Ways - 1) / Ways);
        _pages = new Entry[]?[(_sets + SetsOfPage - 1) / SetsOfPage];
    }

    /// <summary>Blocks that it remembers.</summary>
    public int Capacity => (int)_sets * Ways;

    public bool TryGet(ulong fingerprint, out Trail trail)
    {
        ref var entry = ref Find(fingerprint);
        if (Unsafe.IsNullRef(ref entry))
        {
            trail = default;
            return false;
        }

        trail = TrailOf(entry);
        return true;
    }

    /// <summary>As <see cref="TryGet"/>, and forgets it.</summary>
    public bool TryTake(ulong fingerprint, out Trail trail)
    {
        if (!TryGet(fingerprint, out trail))
            return false;
        Find(fingerprint) = default;
        return true;
    }

    /// <returns>Whether another one was forgotten for it.</returns>
    public bool Add(ulong fingerprint, in Trail trail, out Trail forgotten)
    {
        var number = SetOf(fingerprint);
        _pages[number / SetsOfPage] ??= new Entry[Math.Min(SetsOfPage, (int)_sets - (number / SetsOfPage * SetsOfPage)) * Ways];
        var set = Set(number);
        var at = 0;
        for (var i = 0; i < set.Length && set[at].Tag != 0; i++)
        {
            if (set[i].Tag == 0 || set[i].Touched < set[at].Touched)
                at = i;
        }

        var full = set[at].Tag != 0;
        forgotten = TrailOf(set[at]);
        set[at] = new Entry
        {
            Tag = TagOf(fingerprint),
            Touched = (uint)(trail.Touched >> UnitBits),
            Class = trail.Class,
            Touches = trail.Touches,
            Level = trail.Level,
        };
        return full;
    }

    /// <summary>All that is remembered.</summary>
    public IEnumerable<Trail> All()
    {
        foreach (var page in _pages)
        {
            foreach (var entry in page ?? [])
            {
                if (entry.Tag != 0)
                    yield return TrailOf(entry);
            }
        }
    }

    private static Trail TrailOf(in Entry entry) =>
        new() { Touched = (long)entry.Touched << UnitBits, Class = entry.Class, Touches = entry.Touches, Level = entry.Level };

    private static uint TagOf(ulong fingerprint) => (uint)fingerprint | 1;

    private ref Entry Find(ulong fingerprint)
    {
        var tag = TagOf(fingerprint);
        foreach (ref var entry in Set(SetOf(fingerprint)))
        {
            if (entry.Tag == tag)
                return ref entry;
        }

        return ref Unsafe.NullRef<Entry>();
    }

    private int SetOf(ulong fingerprint) => (int)(((fingerprint >> 32) * _sets) >> 32);

    private Span<Entry> Set(int number) =>
        _pages[number / SetsOfPage] is { } page ? page.AsSpan(number % SetsOfPage * Ways, Ways) : default;
}
