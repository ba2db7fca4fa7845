using KvCache.Engine.Wire;

namespace KvCache.Client.Connections;

/// <summary>
/// One call to a silo on its way through a <see cref="ConnectionLanes"/>: queued, then running on a lane's thread, then finished. While
/// it is queued its deadline can finish it; once it runs only the lane does, so that nobody touches the
/// caller's memory behind a finished call.
/// </summary>
internal sealed class SiloCall : IDisposable
{
    private const int LeastProgress = 1 << 20;
    private const int Queued = 0, Running = 1, Finished = 2;

    private readonly TaskCompletionSource<MissReason> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _deadline;
    private readonly CancellationTokenRegistration _registration;
    private readonly CancellationToken _caller;
    private readonly Lock _watching = new();
    private ConnectionLanes? _lanes;
    private Timer? _watch;
    private long _moved;
    private bool _lostPatience;
    private bool _disposed;
    private int _state;

    public SiloCall(Func<BlockConnection, MissReason> body, TimeSpan timeout, CancellationToken cancellationToken)
    {
        Body = body;
        _caller = cancellationToken;
        _deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _registration = _deadline.Token.UnsafeRegister(static call => ((SiloCall)call!).GiveUp(), this);
        _deadline.CancelAfter(timeout);
    }

    public Func<BlockConnection, MissReason> Body { get; }

    /// <summary>Whether the call goes to a silo that is left alone after failures too, to find out why.</summary>
    public bool Insists { get; init; }

    /// <summary>Ends at the deadline or when the caller cancels.</summary>
    public CancellationToken Token => _deadline.Token;

    /// <summary>Whether the caller lost interest, which says nothing about the silo.</summary>
    public bool CancelledByCaller => _caller.IsCancellationRequested;

    /// <summary>Whether the call was given up because its silo moved next to nothing.</summary>
    public bool LostPatience => Volatile.Read(ref _lostPatience);

    /// <summary>Why a call ended that <see cref="Token"/> ended.</summary>
    public MissReason ReasonOfEnd => LostPatience ? MissReason.Unavailable : MissReason.Deadline;

    public Task<MissReason> Completion => _completion.Task;

    /// <summary>Why the call failed because of its configuration, for callers that want to know.</summary>
    public SiloException? ConfigurationError { get; set; }

    /// <summary>
    /// Ends the call, as <see cref="MissReason.Unavailable"/>, when its silo moves next to nothing for a while: for calls that another silo
    /// could answer too.
    /// What counts is what the silo moves for all calls of the lanes, so that one that waits behind others is not given up while those get
    /// on.
    /// </summary>
    /// <param name="lanes">The connections that the call will use.</param>
    /// <param name="patience">Length of a while.</param>
    public void Watch(ConnectionLanes lanes, TimeSpan patience)
    {
        _lanes = lanes;
        _moved = lanes.MovedBytes;
        _watch = new Timer(static call => ((SiloCall)call!).CheckProgress(), this, patience, patience);
    }

    /// <summary>Claims the call for a lane. False when it finished while it was queued.</summary>
    public bool TryStart() => Interlocked.CompareExchange(ref _state, Running, Queued) == Queued;

    public void Finish(MissReason reason)
    {
        Volatile.Write(ref _state, Finished);
        _completion.SetResult(reason);
    }

    public void Dispose()
    {
        _watch?.Dispose();
        lock (_watching)
            _disposed = true; // a last tick of the timer may be on its way
        _registration.Dispose();
        _deadline.Dispose();
    }

    private void GiveUp()
    {
        if (Interlocked.CompareExchange(ref _state, Finished, Queued) == Queued)
            _completion.SetResult(ReasonOfEnd);
    }

    private void CheckProgress()
    {
        lock (_watching)
        {
            if (_disposed)
                return;
            var moved = _lanes!.MovedBytes;
            if (moved - _moved < LeastProgress)
            {
                Volatile.Write(ref _lostPatience, true);
                _deadline.Cancel();
            }

            _moved = moved;
        }
    }
}
