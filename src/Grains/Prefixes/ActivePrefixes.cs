using System.Collections.Concurrent;
using Orleans.Runtime;

namespace KvCache.Grains.Prefixes;

/// <summary>Which prefix grains are active on this silo, so that calls of them can be told that stay in this process, and how many a tenant
/// has.</summary>
internal sealed class ActivePrefixes
{
    private readonly ConcurrentDictionary<GrainId, object> _active = new();
    private readonly ConcurrentDictionary<TenantId, int> _counts = new();

    public bool Contains(GrainId grain) => _active.ContainsKey(grain);

    /// <summary>Grains of a tenant that are active here.</summary>
    public int CountOf(TenantId tenant) => _counts.GetValueOrDefault(tenant);

    /// <param name="grain">The grain.</param>
    /// <param name="activation">Tells this activation from another one of the same grain.</param>
    public void Add(GrainId grain, object activation)
    {
        if (_active.TryAdd(grain, activation))
            Count(grain, 1);
        else
            _active[grain] = activation;
    }

    /// <summary>Forgets an activation, and not another one of the same grain.</summary>
    public void Remove(GrainId grain, object activation)
    {
        if (_active.TryRemove(KeyValuePair.Create(grain, activation)))
            Count(grain, -1);
    }

    private void Count(GrainId grain, int by)
    {
        if (BlockKey.TryParseGrainKey(grain.Key.ToString(), out var key))
            _counts.AddOrUpdate(key.Namespace.Tenant, by, (_, count) => count + by);
    }
}
