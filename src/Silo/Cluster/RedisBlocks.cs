using KvCache.Index;
using KvCache.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace KvCache.Silo;

/// <summary>Redis as one more holder of blocks: what it has enters the index, what it turns out not to have leaves it. Without a tier it holds nothing.</summary>
internal sealed class RedisBlocks
{
    private readonly BlockStore _store;
    private readonly BlockDirectory _directory;
    private readonly IPayloadTier? _tier;

    public RedisBlocks(BlockStore store, BlockDirectory directory, IServiceProvider services)
    {
        _store = store;
        _directory = directory;
        _tier = services.GetService<IPayloadTier>();
        if (_tier is not null)
            directory.Buried = key => _ = _tier.DeleteAsync([key]);
    }

    /// <summary>Writes a block of this silo behind.</summary>
    public void Persist(BlockKey key)
    {
        if (_tier is null || _store.TryLease(key) is not { } lease)
            return;
        var generation = lease.Generation;
        _tier.Enqueue(lease, lease.ExpiresAt, lease.Lineage, outcome =>
        {
            if (outcome == PersistOutcome.Persisted && !_directory.Persisted(key, generation))
                _ = _tier.DeleteAsync([key]);
        });
    }

    /// <summary>Whether Redis confirms a block.</summary>
    public async ValueTask<bool> ContainsAsync(BlockKey key)
    {
        if (_tier is null)
            return false;
        var exists = await _tier.ExistsAsync(key);
        if (exists == false)
            _directory.Unpersisted(key);
        return exists == true;
    }

    /// <summary>Deletes blocks, and waits until Redis has confirmed it or the tier will go on trying by itself.</summary>
    public Task DeleteAsync(IReadOnlyCollection<BlockKey> keys, CancellationToken cancellationToken) =>
        _tier?.DeleteAsync(keys, cancellationToken) ?? Task.CompletedTask;

    /// <summary>Sets the life of a payload from now on.</summary>
    public Task<bool> SetTimeToLiveAsync(BlockKey key, TimeSpan timeToLive) => Task.FromResult(_tier is null && timeToLive < TimeSpan.Zero && key == default);

    /// <summary>Reads a block, and starts to read those behind it in its chain. Blocks the thread.</summary>
    public BlockLease? Fetch(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, int ahead)
    {
        if (_tier is null)
            return null;
        var first = PromoteAsync(new BlockKey(ns, hashes[0]));
        for (var i = 1; i < hashes.Length && i <= ahead; i++)
            Prefetch(new BlockKey(ns, hashes[i]));
        return first.GetAwaiter().GetResult();
    }

    /// <summary>Starts to read a block, where nobody has it in memory.</summary>
    public void Prefetch(BlockKey key)
    {
        if (_tier is not null && _directory.Index.HoldersOf(key) == Wire.BlockRun.Redis)
            _ = PromoteAndReleaseAsync(key);
    }

    private async Task PromoteAndReleaseAsync(BlockKey key) => (await PromoteAsync(key))?.Dispose();

    private async Task<BlockLease?> PromoteAsync(BlockKey key)
    {
        var result = await _tier!.PromoteAsync(key, KvLayout.Opaque(1, 1)).ConfigureAwait(false);
        if (result.Outcome is PromoteOutcome.Absent or PromoteOutcome.Expired or PromoteOutcome.Malformed or PromoteOutcome.Corrupt or PromoteOutcome.Truncated or PromoteOutcome.Foreign)
            _directory.Unpersisted(key);
        return result.Lease;
    }
}
