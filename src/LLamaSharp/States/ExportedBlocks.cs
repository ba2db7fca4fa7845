namespace KvCache.LLamaSharp.States;

/// <summary>Blocks that were taken out of a context, on their way to the cache. Dispose it: their memory is used again.</summary>
/// <param name="cache">The cache.</param>
/// <param name="prefix">The prefix that they belong to.</param>
/// <param name="firstBlock">Index of the first one.</param>
/// <param name="blocks">The blocks.</param>
/// <param name="free">Gives their memory back.</param>
internal sealed class ExportedBlocks(IKvCache cache, KvPrefix prefix, int firstBlock, Memory<byte>[] blocks, Action free) : IDisposable
{
    private Action? _free = free;

    public IReadOnlyList<Memory<byte>> Blocks => blocks;

    /// <summary>Index of the block behind them.</summary>
    public int End => firstBlock + blocks.Length;

    public ValueTask<StoreResult> SendAsync(StoreOptions? options, CancellationToken cancellationToken) =>
        cache.StoreAsync(prefix, firstBlock, Array.ConvertAll(blocks, block => (ReadOnlyMemory<byte>)block), options, cancellationToken);

    public void Dispose() => Interlocked.Exchange(ref _free, null)?.Invoke();
}
