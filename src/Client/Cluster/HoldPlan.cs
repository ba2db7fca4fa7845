using System.Numerics;

namespace KvCache.Client.Cluster;

/// <summary>What one silo is asked to hold.</summary>
/// <param name="Endpoints">Addresses of the silo.</param>
/// <param name="Namespaces">Ranks of which it holds blocks.</param>
/// <param name="Blocks">Indices of the blocks in the chain, ascending.</param>
internal sealed record HoldStep(IReadOnlyList<string> Endpoints, List<CacheNamespace> Namespaces, SortedSet<int> Blocks);

/// <summary>Decides which silos, beside the home silo, are asked to hold the blocks of a match.</summary>
internal static class HoldPlan
{
    /// <summary>Names a silo for every block that the home silo does not have and another one has: one that is asked anyway, where there is
    /// one.</summary>
    /// <param name="namespaces">The ranks.</param>
    /// <param name="locations">For each rank, where its blocks are; null where that is not known.</param>
    public static List<HoldStep> Of(ReadOnlySpan<CacheNamespace> namespaces, ReadOnlySpan<BlockLocations?> locations)
    {
        var steps = new List<HoldStep>();
        for (var rank = 0; rank < locations.Length; rank++)
        {
            if (locations[rank] is not { } located)
                continue;
            var silos = located.Silos;
            var first = 0;
            foreach (var run in located.Runs)
            {
                if (Choose(silos, run.Holders & ~BlockRun.Redis, steps) is { } silo)
                {
                    if (steps.Find(step => IsAt(step, silo)) is not { } step)
                        steps.Add(step = new HoldStep(silo.Endpoints, [], []));
                    if (!step.Namespaces.Contains(namespaces[rank]))
                        step.Namespaces.Add(namespaces[rank]);
                    step.Blocks.UnionWith(Enumerable.Range(first, run.Blocks));
                }

                first += run.Blocks;
            }
        }

        return steps;
    }

    private static BlockHolder? Choose(IReadOnlyList<BlockHolder> silos, ulong holders, List<HoldStep> steps)
    {
        BlockHolder? chosen = null;
        for (var rest = holders; rest != 0; rest &= rest - 1)
        {
            var number = BitOperations.TrailingZeroCount(rest);
            if (number >= silos.Count)
                break;
            var silo = silos[number];
            if (silo.IsHere)
                return null; // the match itself holds it
            if (chosen is null || steps.Exists(step => IsAt(step, silo)))
                chosen = silo;
        }

        return chosen;
    }

    // Every rank's answer numbers the silos anew; their addresses are the same.
    private static bool IsAt(HoldStep step, BlockHolder silo) => step.Endpoints.SequenceEqual(silo.Endpoints);
}
