namespace KvCache.Bench.Measuring;

/// <summary>Something that is measured against others.</summary>
internal interface IContender
{
    /// <summary>Row name.</summary>
    string Name { get; }

    /// <summary>Names of the contenders that this one is divided by, where they run in the same case.</summary>
    IReadOnlyList<string> ComparedWith { get; }

    /// <summary>Runs one round, about 100 to 200 ms, and returns its figure in the unit of the row.</summary>
    double Measure();
}

/// <summary>
/// Runs contenders in turns. Each round runs everyone once, and each round starts with another contender, so that neither a slow
/// spell of the machine nor the state that a predecessor leaves behind (caches, CPU clock) always hits the same one.
/// </summary>
internal static class InterleavedRounds
{
    /// <returns>For each contender, in the order given, its figure of every round.</returns>
    public static double[][] Run(IReadOnlyList<IContender> contenders, int rounds, CancellationToken cancellation)
    {
        var figures = contenders.Select(_ => new double[rounds]).ToArray();
        for (var round = 0; round < rounds; round++)
        {
            for (var turn = 0; turn < contenders.Count; turn++)
            {
                cancellation.ThrowIfCancellationRequested();
                var index = (round + turn) % contenders.Count;
                figures[index][round] = contenders[index].Measure();
            }
        }
        return figures;
    }
}
