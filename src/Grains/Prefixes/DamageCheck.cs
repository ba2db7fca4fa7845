using KvCache.Engine.Storage;
using Microsoft.Extensions.Logging;

namespace KvCache.Grains.Prefixes;

/// <summary>Compares blocks in this silo's memory with their checksums: before they leave to a reader who cannot, and when a reader says
/// that one arrived damaged. What is damaged here is dropped.</summary>
internal sealed partial class DamageCheck(BlockStore store, ILogger<DamageCheck> logger)
{
    /// <summary>Whether layers of a block are damaged; then it is out of sight afterwards.</summary>
    public bool DropIfDamaged(BlockLease lease, LayerRange layers)
    {
        if (lease.FindDamage(layers) is not { } layer)
            return false;
        LogDamaged(lease.Key.Namespace, lease.Key.Hash, layer);
        store.Remove(lease.Key, RemovalReason.Corrupt, lease.Generation);
        return true;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Block {Namespace}/{Hash} is damaged in memory (layer {Layer}); it is dropped")]
    private partial void LogDamaged(NamespaceId @namespace, BlockHash hash, int layer);
}
