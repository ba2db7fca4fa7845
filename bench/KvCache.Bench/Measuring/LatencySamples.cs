using System.Diagnostics;

namespace KvCache.Bench.Measuring;

/// <summary>Times of single calls, by one thread, without allocation after the first round.</summary>
internal sealed class LatencySamples
{
    private long[] _ticks = new long[4096];
    private bool _sorted;

    /// <summary>Number of calls.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a call that began at a time stamp and ends now.</summary>
    public void Add(long began) => AddTicks(Stopwatch.GetTimestamp() - began);

    /// <summary>Adds the calls of somebody else.</summary>
    public void Add(LatencySamples others)
    {
        foreach (var ticks in others._ticks.AsSpan(0, others.Count))
            AddTicks(ticks);
    }

    public void Clear() => Count = 0;

    /// <summary>Time in microseconds that this share of the calls did not exceed (nearest rank).</summary>
    /// <exception cref="InvalidOperationException">There is no call.</exception>
    public double Microseconds(double share)
    {
        if (Count == 0)
            throw new InvalidOperationException("No call was timed.");
        if (!_sorted)
            Array.Sort(_ticks, 0, Count);
        _sorted = true;
        var rank = Math.Clamp((int)Math.Ceiling(share * Count), 1, Count);
        return _ticks[rank - 1] * 1e6 / Stopwatch.Frequency;
    }

    internal void AddTicks(long ticks)
    {
        if (Count == _ticks.Length)
            Array.Resize(ref _ticks, Count * 2);
        _ticks[Count++] = ticks;
        _sorted = false;
    }
}
