using System.Numerics;

namespace KvCache.Eviction;

/// <summary>
/// Time in slices that grow with their age (an exponential histogram): a slice is never wider than a share of its age. All that began in
/// one slice is as old as the others in it, as far as the policy can tell.
/// </summary>
internal sealed class Slices
{
    /// <summary>Most slices at a time: fits in a mask of 64 bits.</summary>
    public const int Max = 64;

    private readonly long[] _starts = new long[Max]; // by order, oldest first
    private readonly byte[] _ids = new byte[Max];
    private ulong _used;

    /// <summary>Slices at present.</summary>
    public int Count { get; private set; }

    /// <summary>Id of a slice by its order, oldest first.</summary>
    public int Id(int order) => _ids[order];

    /// <summary>When a slice began, by its order.</summary>
    public long Start(int order) => _starts[order];

    /// <summary>Age of what began in a slice, in milliseconds.</summary>
    public long Age(int order, long now)
    {
        var end = order + 1 < Count ? _starts[order + 1] : now;
        return Math.Max(0, now - ((_starts[order] + end) / 2));
    }

    /// <summary>Id of the slice in which something began.</summary>
    public int Find(long began)
    {
        int low = 0, high = Count - 1;
        while (low < high)
        {
            var middle = (low + high + 1) >> 1;
            if (_starts[middle] <= began)
                low = middle;
            else
                high = middle - 1;
        }

        return _ids[low];
    }

    /// <summary>Begins a slice, and tells which two became one for it.</summary>
    /// <param name="now">Time.</param>
    /// <param name="merge">Called with the ids of the slice that stays and of the one that goes into it.</param>
    public void Begin(long now, Action<int, int> merge)
    {
        if (Count > 0 && now <= _starts[Count - 1])
            return;
        // Merge where the pair's width is at most an eighth of the age of its young end; if none is, where it is least in proportion.
        for (var order = 0; order + 1 < Count - 1;)
        {
            if (8 * (_starts[order + 2] - _starts[order]) <= now - _starts[order + 2])
                Merge(order, merge);
            else
                order++;
        }

        while (Count == Max)
        {
            var best = 0;
            var least = double.MaxValue;
            for (var order = 0; order + 2 < Count; order++)
            {
                var share = (_starts[order + 2] - _starts[order]) / (double)Math.Max(1, now - _starts[order + 2]);
                if (share < least)
                    (least, best) = (share, order);
            }

            Merge(best, merge);
        }

        var id = BitOperations.TrailingZeroCount(~_used);
        _used |= 1UL << id;
        _starts[Count] = now;
        _ids[Count++] = (byte)id;
    }

    private void Merge(int order, Action<int, int> merge)
    {
        var gone = _ids[order + 1];
        merge(_ids[order], gone);
        _used &= ~(1UL << gone);
        for (var i = order + 1; i + 1 < Count; i++)
        {
            _starts[i] = _starts[i + 1];
            _ids[i] = _ids[i + 1];
        }

        Count--;
    }
}
