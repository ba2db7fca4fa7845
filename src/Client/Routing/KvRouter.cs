namespace KvCache.Client;

/// <summary>A silo as a place for a request.</summary>
/// <param name="Silo">The silo.</param>
/// <param name="Plan">Where the engine beside it would get the prompt's tokens from.</param>
public sealed record KvRoute(BlockHolder Silo, RoutePlan Plan);

/// <summary>
/// Ranks nodes for a prompt by where its blocks are. It knows the tiers of the cache; what lies in GPUs is known to the silos that hear the
/// engines' events (<c>/v1/locate</c>, docs/events.md).
/// </summary>
public static class KvRouter
{
    /// <summary>The silos that hold something of a prompt, best first.</summary>
    /// <param name="locations">Who holds the prompt's blocks.</param>
    /// <param name="tokens">Tokens of the prompt, at least 1.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="weights">Costs of the tiers; null for the defaults.</param>
    /// <returns>The routes; empty when no silo holds anything, and then every node is as good as the other.</returns>
    public static IReadOnlyList<KvRoute> Rank(BlockLocations locations, int tokens, int tokensPerBlock, RouteWeights? weights = null)
    {
        ArgumentNullException.ThrowIfNull(locations);
        var holders = new List<ulong>(locations.Found);
        foreach (var run in locations.Runs)
            holders.AddRange(Enumerable.Repeat(run.Holders, run.Blocks));
        var masks = holders.ToArray();
        var routes = new KvRoute[locations.Silos.Count];
        for (var i = 0; i < routes.Length; i++)
            routes[i] = new KvRoute(
                locations.Silos[i], RoutePlan.Create(tokens, tokensPerBlock, masks, 1UL << i, gpuTokens: 0, weights ?? new RouteWeights()));
        return [.. routes.OrderByDescending(route => route.Plan.Score)];
    }
}
