using KvCache.Wire;

namespace KvCache.Client;

/// <summary>
/// One call to a silo on its way through a <see cref="ConnectionLanes"/>: queued, then running on a lane's thread, then finished. While
/// it is queued its deadline can finish it; once it runs only the lane does, so that nobody touches the
/// caller's memory behind a finished call.
/// </summary>
internal sealed class SiloCall : IDisposable
{
    private const int Queued = 0, Running = 1, Finished = 2;

    private readonly TaskCompletionSource<MissReason> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _deadline;
    private readonly CancellationTokenRegistration _registration;
    private int _state;

    private readonly CancellationToken _caller;

    public SiloCall(Func<BlockConnection, MissReason> body, TimeSpan timeout, CancellationToken cancellationToken)
    {
        Body = body;
        _caller = cancellationToken;
        _deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _registration = _deadline.Token.UnsafeRegister(static call => ((SiloCall)call!).GiveUp(), this);
        _deadline.CancelAfter(timeout);
    }

    public Func<BlockConnection, MissReason> Body { get; }

    /// <summary>Ends at the deadline or when the caller cancels.</summary>
    public CancellationToken Token => _deadline.Token;

    /// <summary>Whether the caller lost interest, which says nothing about the silo.</summary>
    public bool CancelledByCaller => _caller.IsCancellationRequested;

    public Task<MissReason> Completion => _completion.Task;

    /// <summary>Why the call failed because of its configuration, for callers that want to know.</summary>
    public SiloException? ConfigurationError { get; set; }

    /// <summary>Claims the call for a lane. False when it finished while it was queued.</summary>
    public bool TryStart() => Interlocked.CompareExchange(ref _state, Running, Queued) == Queued;

    public void Finish(MissReason reason)
    {
        Volatile.Write(ref _state, Finished);
        _completion.SetResult(reason);
    }

    public void Dispose()
    {
        _registration.Dispose();
        _deadline.Dispose();
    }

    private void GiveUp()
    {
        if (Interlocked.CompareExchange(ref _state, Finished, Queued) == Queued)
            _completion.SetResult(MissReason.Deadline);
    }
}
