using Microsoft.Extensions.DependencyInjection;
using Orleans.Placement;
using Orleans.Runtime.Placement;

namespace KvCache.Grains.Cluster;

/// <summary>
/// A prefix grain goes where its block is; a new one goes beside its writer, unless hardly any memory is left there: then to the better of
/// two other silos.
/// </summary>
[GenerateSerializer, Immutable, Alias("KvCache.PrefixPlacement")]
internal sealed class PrefixPlacement : PlacementStrategy
{
}

/// <summary>Places a grain class by <see cref="PrefixPlacement"/>.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class PrefixPlacementAttribute() : PlacementAttribute(new PrefixPlacement());

/// <summary>Decides by the index, which knows who holds a block; asked only for activations that do not exist yet.</summary>
/// <param name="cluster">What this silo knows of the others.</param>
internal sealed class PrefixPlacementDirector(IClusterBlocks cluster) : IPlacementDirector
{
    public Task<SiloAddress> OnAddActivation(PlacementStrategy strategy, PlacementTarget target, IPlacementContext context)
    {
        var silos = context.GetCompatibleSilos(target);
        if (BlockKey.TryParseGrainKey(target.GrainIdentity.Key.ToString(), out var key) && cluster.HolderOf(key) is { } holder
            && silos.Contains(holder))
            return Task.FromResult(holder);
        if (IPlacementDirector.GetPlacementHint(target.RequestContextData, silos) is { } hint)
            return Task.FromResult(hint);
        if (cluster.RoomierSilo() is { } roomier && silos.Contains(roomier))
            return Task.FromResult(roomier);
        return Task.FromResult(silos.Contains(context.LocalSilo) ? context.LocalSilo : silos[Random.Shared.Next(silos.Length)]);
    }
}
