using System.Numerics;

namespace KvCache.Client.Caching;

/// <summary>Counts durations in logarithmic buckets, four for each power of two from 1 µs to 17 minutes.</summary>
internal sealed class LatencyHistogram
{
    private const int SubBits = 2;
    private const int Buckets = 31 << SubBits;

    private readonly long[] _counts = new long[Buckets];
    private long _maxMicroseconds, _totalMicroseconds;

    public void Record(TimeSpan duration)
    {
        var microseconds = (long)Math.Clamp(Math.Ceiling(duration.TotalMicroseconds), 1, (1L << 30) - 1);
        Interlocked.Increment(ref _counts[BucketOf(microseconds)]);
        Interlocked.Add(ref _totalMicroseconds, microseconds);
        for (var max = Volatile.Read(ref _maxMicroseconds); microseconds > max;)
        {
            var seen = Interlocked.CompareExchange(ref _maxMicroseconds, microseconds, max);
            if (seen == max)
                break;
            max = seen;
        }
    }

    /// <summary>Counts from zero again. What is recorded meanwhile may count in part.</summary>
    public void Reset()
    {
        for (var bucket = 0; bucket < Buckets; bucket++)
            Volatile.Write(ref _counts[bucket], 0);
        Volatile.Write(ref _maxMicroseconds, 0);
        Volatile.Write(ref _totalMicroseconds, 0);
    }

    public LatencySummary Summarize()
    {
        var counts = Array.ConvertAll(_counts, count => Volatile.Read(ref count));
        var max = Volatile.Read(ref _maxMicroseconds);
        var total = counts.Sum();
        return new LatencySummary(
            total, Percentile(0.50), Percentile(0.95), Percentile(0.99), TimeSpan.FromMicroseconds(max),
            TimeSpan.FromMicroseconds(Volatile.Read(ref _totalMicroseconds)));

        TimeSpan Percentile(double share)
        {
            var wanted = (long)Math.Ceiling(total * share);
            long seen = 0;
            for (var bucket = 0; bucket < Buckets && wanted > 0; bucket++)
            {
                seen += counts[bucket];
                if (seen >= wanted)
                    return TimeSpan.FromMicroseconds(Math.Min(UpperBound(bucket), max));
            }

            return TimeSpan.Zero;
        }
    }

    private static int BucketOf(long value)
    {
        var log = BitOperations.Log2((ulong)value);
        var sub = log >= SubBits
            ? (int)(value >> (log - SubBits)) & ((1 << SubBits) - 1)
            : (int)(value << (SubBits - log)) & ((1 << SubBits) - 1);
        return (log << SubBits) + sub;
    }

    // The largest whole number below the next bucket.
    private static long UpperBound(int bucket)
    {
        int log = bucket >> SubBits, sub = bucket & ((1 << SubBits) - 1);
        return (long)Math.Ceiling(Math.Pow(2, log) * (1 + ((sub + 1) / (double)(1 << SubBits)))) - 1;
    }
}
