namespace KvCache.LLamaTests;

/// <summary>A cache whose blocks are changed when they are loaded, and which remembers what was stored.</summary>
/// <param name="cache">What has the blocks.</param>
/// <param name="change">Is given the index of a block in its prefix, and its bytes; null changes nothing.</param>
internal sealed class ChangedCache(IKvCache cache, Action<int, Memory<byte>>? change = null) : OtherKvCache(cache)
{
    /// <summary>Names of stored blocks, in order.</summary>
    public List<BlockHash> Stored { get; } = [];

    public override async ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var result = await Inner.LoadAsync(prefix, firstBlock, destinations, layers, match, cancellationToken);
        for (var i = 0; i < result.Blocks; i++)
            change?.Invoke(firstBlock + i, destinations[i]);
        return result;
    }

    public override ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        lock (Stored)
            Stored.AddRange(prefix.Chain.Hashes.Slice(firstBlock, blocks.Count).ToArray());
        return Inner.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
    }
}
