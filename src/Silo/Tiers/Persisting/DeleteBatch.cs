namespace KvCache.Silo.Tiers.Persisting;

/// <summary>Blocks that somebody wants deleted together.</summary>
internal sealed class DeleteBatch
{
    private readonly TaskCompletionSource<bool> _confirmed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _left;

    public DeleteBatch(IEnumerable<BlockKey> keys)
    {
        Keys = [.. keys];
        _left = Keys.Count;
    }

    public HashSet<BlockKey> Keys { get; }

    /// <summary>Completes, with true, when Redis has confirmed all of them.</summary>
    public Task<bool> Confirmed => _confirmed.Task;

    /// <summary>Redis has confirmed one of them. Called under the queue's lock.</summary>
    public void Confirm()
    {
        if (--_left == 0)
            _confirmed.SetResult(true);
    }
}
