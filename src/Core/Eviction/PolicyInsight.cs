namespace KvCache.Eviction;

/// <summary>Three points of a distribution of times, in seconds.</summary>
internal readonly record struct AgeQuantiles(double P50, double P90, double P99)
{
    /// <summary>Of counts by bucket of <see cref="AgeScale"/>; null where nothing was counted.</summary>
    public static AgeQuantiles? Of(ReadOnlySpan<float> counts)
    {
        double all = 0;
        foreach (var count in counts)
            all += count;
        return all < 1 ? null : new AgeQuantiles(At(counts, all * 0.5), At(counts, all * 0.9), At(counts, all * 0.99));
    }

    // The end of the bucket in which so many are reached.
    private static double At(ReadOnlySpan<float> counts, double wanted)
    {
        double sum = 0;
        for (var bucket = 0; bucket < counts.Length; bucket++)
        {
            sum += counts[bucket];
            if (sum >= wanted)
                return AgeScale.Start(bucket + 1) / 1000.0;
        }

        return AgeScale.Start(counts.Length) / 1000.0;
    }
}

/// <summary>What was learned of a class of blocks.</summary>
/// <param name="What">The class in words.</param>
/// <param name="Touches">Uses that were counted; old ones count less.</param>
/// <param name="UsedAgain">Share of them that was followed by another one, as far as is known, 0 to 1.</param>
/// <param name="HalfWithin">Seconds within which half of these came; null where there are none.</param>
internal sealed record ClassInsight(string What, double Touches, double UsedAgain, double? HalfWithin);

/// <summary>What a policy has seen and learned.</summary>
/// <param name="ReuseAge">Time between two uses of a block.</param>
/// <param name="EvictionAge">Time from the last use of a block until it was evicted.</param>
/// <param name="Wanted">Blocks that were asked for after they had been evicted, or had got no room.</param>
/// <param name="Classes">The classes that are used most.</param>
internal sealed record PolicyInsight(
    AgeQuantiles? ReuseAge, AgeQuantiles? EvictionAge, long Wanted, IReadOnlyList<ClassInsight> Classes);
