namespace KvCache.Silo.Tiers.Persisting;

/// <summary>Somebody wants the life of a block to end at another time.</summary>
/// <param name="key">The block.</param>
/// <param name="expiresAt">The time in Unix milliseconds.</param>
/// <param name="overtaken">An earlier change that has not been executed; whoever waits for it waits for this one now.</param>
internal sealed class LifeChange(BlockKey key, long expiresAt, LifeChange? overtaken)
{
    private readonly TaskCompletionSource<bool?> _applied = overtaken?._applied ?? new(TaskCreationOptions.RunContinuationsAsynchronously);

    public BlockKey Key => key;

    public long ExpiresAt => expiresAt;

    /// <summary>Completes when it ends: true when Redis has the block, and it lives so long; false when Redis does not have it; null when
    /// Redis refused, or nobody asks any more.</summary>
    public Task<bool?> Applied => _applied.Task;

    public void End(bool? applied) => _applied.TrySetResult(applied);
}
