namespace KvCache.Client.Scatter;

/// <summary>Memory that one call at a time uses. Disposed under a call it is freed when that has ended, and those that wait are
/// told.</summary>
/// <param name="owner">What is disposed, for those that are told.</param>
/// <param name="free">Frees the memory; called once.</param>
internal sealed class CallTurn(object owner, Action free) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1); // never disposed: it has no handle, and somebody may wait
    private volatile bool _disposed;
    private int _freed;

    /// <summary>Waits for the calls before; <see cref="Leave"/> ends the turn.</summary>
    /// <exception cref="ObjectDisposedException">The memory is gone.</exception>
    public async Task EnterAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        if (!_disposed)
            return;
        Leave();
        ObjectDisposedException.ThrowIf(_disposed, owner);
    }

    public void Leave()
    {
        _turn.Release();
        if (_disposed)
            Dispose();
    }

    public void Dispose()
    {
        _disposed = true;
        if (!_turn.Wait(0))
            return; // whoever has the turn frees the memory
        if (Interlocked.Exchange(ref _freed, 1) == 0)
            free();
        _turn.Release();
    }
}
