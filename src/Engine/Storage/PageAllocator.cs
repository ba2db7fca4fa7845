using System.Numerics;

namespace KvCache.Engine.Storage;

/// <summary>
/// Allocates runs of consecutive pages in O(1): two-level segregated fit (Masmano, Ripoll, Crespo, Real: "TLSF: a new
/// dynamic memory allocator for real-time systems", ECRTS 2004), with its bookkeeping outside of the managed pages.
/// </summary>
/// <remarks>
/// Sizes are rounded up to the granularity of their class, 1/64 of the power of two below: at most 1.6 % is lost inside a
/// run, and nothing for the sizes of common layouts. In return every free run of a class fits every request of that class,
/// so a hole left by one block is found by the next one of equal size. Not thread-safe: the <see cref="Arena"/> locks.
/// </remarks>
internal sealed class PageAllocator
{
    private const int SubclassBits = 6;
    private const int Subclasses = 1 << SubclassBits;
    private const int None = -1;
    private const int Allocated = -2; // in _previous of the first page of an allocated run, and nowhere else

    // One entry a page, meaningful at the first and the last page of a run: length of the run, negative when it is free.
    private readonly int[] _runs;
    private readonly int[] _next;
    private readonly int[] _previous;
    private readonly int[] _heads;
    private readonly ulong[] _subclassMaps;
    private ulong _classMap;

    /// <summary>Creates an allocator without pages; <see cref="Grow"/> adds them.</summary>
    /// <param name="maxPages">Most pages it will ever manage.</param>
    public PageAllocator(int maxPages)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxPages, 1);
        MaxPages = maxPages;
        _runs = new int[maxPages];
        _next = new int[maxPages];
        _previous = new int[maxPages];
        var classes = ClassOf(maxPages).Class + 1;
        _heads = new int[classes * Subclasses];
        _heads.AsSpan().Fill(None);
        _subclassMaps = new ulong[classes];
    }

    /// <summary>Most pages that can be managed.</summary>
    public int MaxPages { get; }

    /// <summary>Pages managed so far.</summary>
    public int Pages { get; private set; }

    /// <summary>Pages that are free.</summary>
    public int FreePages { get; private set; }

    /// <summary>Free runs; with <see cref="LargestFreeRun"/> the measure of fragmentation.</summary>
    public int FreeRuns { get; private set; }

    /// <summary>Pages that a request for <paramref name="pages"/> takes.</summary>
    public static int RoundUp(int pages)
    {
        var granularity = Granularity(pages);
        return (int)(((long)pages + granularity - 1) / granularity * granularity);
    }

    /// <summary>Adds pages behind the managed ones.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The sum would exceed <see cref="MaxPages"/>.</exception>
    public void Grow(int pages)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pages, MaxPages - Pages);
        var start = Pages;
        Pages += pages;
        Release(start, pages);
    }

    /// <summary>Takes a run of at least <paramref name="pages"/> pages.</summary>
    /// <returns>Its first page, or -1 when no free run is long enough.</returns>
    public int Allocate(int pages)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        if (pages > MaxPages)
            return None;
        var wanted = RoundUp(pages);
        if (wanted > MaxPages)
            return None;
        var (cls, sub) = ClassOf(wanted);
        var map = _subclassMaps[cls] & (ulong.MaxValue << sub);
        if (map == 0)
        {
            var classes = cls + 1 < 64 ? _classMap & (ulong.MaxValue << (cls + 1)) : 0;
            if (classes == 0)
                return None;
            cls = BitOperations.TrailingZeroCount(classes);
            map = _subclassMaps[cls];
        }

        var start = _heads[(cls * Subclasses) + BitOperations.TrailingZeroCount(map)];
        var length = -_runs[start];
        Unlink(start, length);
        if (length > wanted)
            Link(start + wanted, length - wanted);
        Mark(start, wanted, wanted);
        _previous[start] = Allocated;
        FreePages -= wanted;
        return start;
    }

    /// <summary>Gives a run back and merges it with free neighbours.</summary>
    /// <param name="start">First page, as <see cref="Allocate"/> returned it.</param>
    /// <exception cref="ArgumentException">No allocated run starts there.</exception>
    public void Free(int start)
    {
        var length = RunLength(start);
        _previous[start] = None;
        Release(start, length);
    }

    /// <summary>Pages of the allocated run that starts at <paramref name="start"/>.</summary>
    /// <exception cref="ArgumentException">No allocated run starts there.</exception>
    public int RunLength(int start) => (uint)start < (uint)Pages && _previous[start] == Allocated
        ? _runs[start]
        : throw new ArgumentException($"Page {start} is not the start of an allocated run.", nameof(start));

    /// <summary>The run that starts at a page, for walking over all runs.</summary>
    /// <param name="start">First page of a run.</param>
    /// <param name="length">Its pages.</param>
    /// <param name="free">Whether it is free.</param>
    /// <returns>False behind the managed pages.</returns>
    public bool TryGetRun(int start, out int length, out bool free)
    {
        var run = start < Pages ? _runs[start] : 0;
        (length, free) = (Math.Abs(run), run < 0);
        return run != 0;
    }

    /// <summary>Length of the longest free run, in pages. Looks through one class: O(runs of that class).</summary>
    public int LargestFreeRun()
    {
        if (_classMap == 0)
            return 0;
        var cls = BitOperations.Log2(_classMap);
        var largest = 0;
        for (var run = _heads[(cls * Subclasses) + BitOperations.Log2(_subclassMaps[cls])]; run != None; run = _next[run])
            largest = Math.Max(largest, -_runs[run]);
        return largest;
    }

    private static int Granularity(int pages) => Math.Max(1, (int)(BitOperations.RoundUpToPowerOf2((uint)pages + 1) >> (SubclassBits + 1)));

    // Runs below 64 pages have a list per length; above, 64 lists per power of two.
    private static (int Class, int Subclass) ClassOf(int pages)
    {
        if (pages < Subclasses)
            return (0, pages);
        var log = BitOperations.Log2((uint)pages);
        return (log - SubclassBits + 1, (pages >> (log - SubclassBits)) & (Subclasses - 1));
    }

    private void Release(int start, int length)
    {
        FreePages += length;
        if (start > 0 && _runs[start - 1] < 0)
        {
            var before = -_runs[start - 1];
            start -= before;
            Unlink(start, before);
            length += before;
        }

        if (start + length < Pages && _runs[start + length] < 0)
        {
            var behind = -_runs[start + length];
            Unlink(start + length, behind);
            length += behind;
        }

        Link(start, length);
    }

    private void Link(int start, int length)
    {
        var (cls, sub) = ClassOf(length);
        ref var head = ref _heads[(cls * Subclasses) + sub];
        _next[start] = head;
        _previous[start] = None;
        if (head != None)
            _previous[head] = start;
        head = start;
        _subclassMaps[cls] |= 1UL << sub;
        _classMap |= 1UL << cls;
        Mark(start, length, -length);
        FreeRuns++;
    }

    private void Unlink(int start, int length)
    {
        int next = _next[start], previous = _previous[start];
        if (next != None)
            _previous[next] = previous;
        if (previous != None)
        {
            _next[previous] = next;
        }
        else
        {
            var (cls, sub) = ClassOf(length);
            _heads[(cls * Subclasses) + sub] = next;
            if (next == None)
            {
                _subclassMaps[cls] &= ~(1UL << sub);
                if (_subclassMaps[cls] == 0)
                    _classMap &= ~(1UL << cls);
            }
        }

        FreeRuns--;
    }

    private void Mark(int start, int length, int value)
    {
        _runs[start] = value;
        _runs[start + length - 1] = value;
    }
}
