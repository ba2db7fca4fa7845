using System.Collections.Concurrent;
using Orleans.Runtime;

namespace KvCache.Grains.Prefixes;

/// <summary>Which prefix grains are active on this silo, so that calls of them can be told that stay in this process.</summary>
internal sealed class ActivePrefixes
{
    private readonly ConcurrentDictionary<GrainId, object> _active = new();

    public bool Contains(GrainId grain) => _active.ContainsKey(grain);

    /// <param name="grain">The grain.</param>
    /// <param name="activation">Tells this activation from another one of the same grain.</param>
    public void Add(GrainId grain, object activation) => _active[grain] = activation;

    /// <summary>Forgets an activation, and not another one of the same grain.</summary>
    public void Remove(GrainId grain, object activation) => _active.TryRemove(KeyValuePair.Create(grain, activation));
}
