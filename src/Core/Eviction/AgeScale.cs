using System.Numerics;

namespace KvCache.Eviction;

/// <summary>
/// Ages in geometric buckets: each is √2 times as wide as the one before it, from milliseconds to weeks, so that no time constant is
/// chosen.
/// </summary>
internal static class AgeScale
{
    /// <summary>Number of buckets. The first holds all below 64 ms; the last has no end.</summary>
    public const int Buckets = 56;

    private const int FirstBits = 6;

    private static readonly long[] Starts = CreateStarts();

    /// <summary>Bucket of an age in milliseconds.</summary>
    public static int Of(long age)
    {
        if (age < 1 << FirstBits)
            return 0;
        var bucket = (2 * (BitOperations.Log2((ulong)age) - FirstBits)) + 1;
        return Math.Min(Buckets - 1, bucket >= Buckets || age < Starts[bucket + 1] ? bucket : bucket + 1);
    }

    /// <summary>Age in milliseconds with which a bucket begins.</summary>
    public static long Start(int bucket) => Starts[bucket];

    /// <summary>Milliseconds from the start of a bucket to the next one's.</summary>
    public static double Width(int bucket) => Starts[bucket + 1] - Starts[bucket];

    private static long[] CreateStarts()
    {
        var starts = new long[Buckets + 1];
        for (var i = 1; i <= Buckets; i++)
            starts[i] = (long)Math.Ceiling(Math.Pow(2, FirstBits + ((i - 1) / 2.0)));
        return starts;
    }
}
