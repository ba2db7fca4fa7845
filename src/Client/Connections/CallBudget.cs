using System.Collections.Immutable;
using System.Diagnostics;
using KvCache.Engine.Wire;

namespace KvCache.Client.Connections;

/// <summary>The time of one call of the application, shared by all the calls to silos that it takes.</summary>
internal sealed class CallBudget
{
    private const int PatienceShare = 3;

    private readonly long _began = Stopwatch.GetTimestamp();
    private readonly TimeSpan _timeout;
    private readonly TimeSpan _patience;
    private readonly CancellationToken _caller;
    private int _givenUp;

    public CallBudget(TimeSpan timeout, TimeSpan patience, CancellationToken caller)
    {
        caller.ThrowIfCancellationRequested();
        _timeout = timeout;
        _patience = TimeSpan.FromMilliseconds(Math.Max(1, Math.Min(patience.TotalMilliseconds, timeout.TotalMilliseconds / PatienceShare)));
        _caller = caller;
    }

    /// <summary>When the call began, as a timestamp of <see cref="Stopwatch"/>.</summary>
    public long Began => _began;

    /// <summary>Whether there is nothing left.</summary>
    public bool IsOver => Left <= TimeSpan.Zero;

    /// <summary>Calls to silos that were given up because their silo was slow.</summary>
    public int GivenUp => Volatile.Read(ref _givenUp);

    private TimeSpan Left => _timeout - Stopwatch.GetElapsedTime(_began);

    /// <summary>Throws when the caller has cancelled.</summary>
    public void ThrowIfCancelled() => _caller.ThrowIfCancellationRequested();

    /// <summary>Runs a call on a silo's connections. Never throws for what the silo or the network does.</summary>
    /// <param name="lanes">The connections.</param>
    /// <param name="body">What is done on one of them.</param>
    /// <param name="isPatient">Whether the call may take all the time that is left, as nobody else can be asked.</param>
    public async ValueTask<MissReason> RunAsync(ConnectionLanes lanes, Func<BlockConnection, MissReason> body, bool isPatient)
    {
        var left = Left;
        if (left <= TimeSpan.Zero || _caller.IsCancellationRequested)
            return MissReason.Deadline;
        using var call = new SiloCall(body, left, _caller);
        if (!isPatient)
            call.Watch(lanes, _patience); // how long a silo may move next to nothing where another one could answer
        var reason = await lanes.RunAsync(call).ConfigureAwait(false);
        if (reason == MissReason.Unavailable && call.LostPatience)
            Interlocked.Increment(ref _givenUp);
        return reason;
    }

    /// <summary>Runs a call on the first silo that answers. What a body has achieved before it failed stays for the next silo.</summary>
    /// <param name="silos">The silos, in order of preference.</param>
    /// <param name="lanes">Which of their connections.</param>
    /// <param name="body">What is done.</param>
    /// <returns>The outcome, and the silo that answered, if one did.</returns>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public async ValueTask<(MissReason Reason, SiloConnector? Silo)> RunAsync(
        ImmutableArray<SiloConnector> silos,
        Func<SiloConnector, ConnectionLanes> lanes,
        Func<BlockConnection, MissReason> body)
    {
        for (var turn = new SiloTurn(silos, this); ;)
        {
            var reason = await RunAsync(lanes(turn.Silo), body, turn.IsLast).ConfigureAwait(false);
            if (reason is MissReason.None or MissReason.Absent or MissReason.Corrupt)
                return (reason, turn.Silo);
            ThrowIfCancelled();
            if (reason != MissReason.Unavailable || !turn.TryNext())
                return (reason, null);
        }
    }
}
