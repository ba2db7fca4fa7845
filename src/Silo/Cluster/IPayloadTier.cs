using KvCache.Engine.Storage;
using KvCache.Silo.Tiers;

namespace KvCache.Silo.Cluster;

/// <summary>What <see cref="RedisBlocks"/> needs of the Redis tier; <see cref="RedisTier"/> says what its members promise.</summary>
internal interface IPayloadTier
{
    /// <inheritdoc cref="RedisTier.IsOpen"/>
    bool IsOpen { get; }

    /// <inheritdoc cref="RedisTier.Enqueue"/>
    void Enqueue(BlockLease lease, Action<PersistOutcome>? completed = null);

    /// <inheritdoc cref="RedisTier.PromoteAsync"/>
    Task<PromoteResult> PromoteAsync(BlockKey key, KvLayout? expected, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="RedisTier.ExpireAsync"/>
    Task<bool?> ExpireAsync(BlockKey key, DateTimeOffset expiresAt, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="RedisTier.DeleteAsync"/>
    Task<bool> DeleteAsync(IReadOnlyCollection<BlockKey> keys, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="RedisTier.VisitAsync"/>
    Task<bool> VisitAsync(Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="RedisTier.IsUnderWay"/>
    bool IsUnderWay(BlockKey key);

    /// <inheritdoc cref="RedisTier.ExistsAsync"/>
    Task<bool?> ExistsAsync(BlockKey key);
}
