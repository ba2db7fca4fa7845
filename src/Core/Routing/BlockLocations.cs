namespace KvCache;

/// <summary>A silo that holds blocks.</summary>
/// <param name="IsHere">Whether it is the silo that was asked.</param>
/// <param name="Endpoints">Its data-plane addresses, best first.</param>
public sealed record BlockHolder(bool IsHere, IReadOnlyList<string> Endpoints);

/// <summary>Consecutive blocks with the same holders.</summary>
/// <param name="Blocks">Number of blocks.</param>
/// <param name="Holders">Bit i stands for silo i of the answer, bit 63 for Redis.</param>
public readonly record struct BlockRun(int Blocks, ulong Holders)
{
    /// <summary>Bit of Redis.</summary>
    public const ulong Redis = 1UL << 63;
}

/// <summary>Who holds the blocks of a chain, from the first up to the first that nobody holds.</summary>
/// <param name="Found">Number of blocks found.</param>
/// <param name="Silos">The silos.</param>
/// <param name="Runs">Runs of blocks; together they have <paramref name="Found"/> blocks.</param>
public sealed record BlockLocations(int Found, IReadOnlyList<BlockHolder> Silos, IReadOnlyList<BlockRun> Runs)
{
    /// <summary>The same of a part of the blocks.</summary>
    internal BlockLocations Slice(int first, int count)
    {
        if (first == 0 && count == Found)
            return this;
        var runs = new List<BlockRun>();
        var (start, end) = (0, first + count);
        foreach (var run in Runs)
        {
            if (Math.Min(start + run.Blocks, end) - Math.Max(start, first) is > 0 and var blocks)
                runs.Add(run with { Blocks = blocks });
            start += run.Blocks;
        }

        return new BlockLocations(count, Silos, runs);
    }
}
