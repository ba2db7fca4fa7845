namespace KvCache.Eviction;

/// <summary>
/// What it is worth to keep a block, by its age: the most hits for a block-second that keeping it for some time from that age on brings
/// (the index of Gittins 1979 for a job whose remaining time is known only as a distribution; "Gittins index" of scheduling and caching).
/// </summary>
internal static class GittinsIndex
{
    /// <summary>Computes the index at the start of every age bucket.</summary>
    /// <param name="hazard">By bucket of <see cref="AgeScale"/>: the chance that a block that was not used before its start is used in
    /// it.</param>
    /// <param name="scores">By bucket: hits for a block-second.</param>
    /// <remarks>
    /// With C(t) the block-seconds and H(t) the hits that keeping a fresh block until t costs and brings, the index at a is the steepest
    /// way from (C(a), H(a)) to a later point of the curve: a walk over its upper hull from the right, O(buckets).
    /// </remarks>
    public static void Compute(ReadOnlySpan<float> hazard, Span<float> scores)
    {
        const int n = AgeScale.Buckets;
        Span<double> cost = stackalloc double[n];
        Span<double> survival = stackalloc double[n]; // hits are what it falls by
        Span<int> hull = stackalloc int[n];
        (cost[0], survival[0]) = (0, 1);
        for (var i = 0; i + 1 < n; i++)
        {
            survival[i + 1] = survival[i] * (1 - hazard[i]);
            cost[i + 1] = cost[i] + (AgeScale.Width(i) * (survival[i] + survival[i + 1]) / 2000);
        }

        var top = 0;
        hull[0] = n - 1;
        scores[n - 1] = 0;
        for (var i = n - 2; i >= 0; i--)
        {
            var best = Slope(cost, survival, i, hull[top]);
            for (; top > 0 && Slope(cost, survival, i, hull[top - 1]) is var other && other >= best; top--)
                best = other;
            scores[i] = (float)best;
            hull[++top] = i;
        }
    }

    private static double Slope(ReadOnlySpan<double> cost, ReadOnlySpan<double> survival, int from, int to) =>
        (survival[from] - survival[to]) / Math.Max(1e-12, cost[to] - cost[from]);
}
