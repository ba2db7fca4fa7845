using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Sockets;
using KvCache.Caching;
using KvCache.Engine.Resilience;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Logging;

namespace KvCache.Client.Connections;

/// <summary>
/// Connections to one silo, each with a thread that takes calls from a common queue. Threads and connections are made when
/// they are needed and kept.
/// </summary>
internal sealed partial class ConnectionLanes : IAsyncDisposable
{
    private const int LaneStackBytes = 256 * 1024;
    private static readonly TimeSpan LeavingMemory = TimeSpan.FromSeconds(5);

    // A silo that is back is found so soon, at the latest.
    private static readonly TimeSpan LongestProbeDelay = TimeSpan.FromSeconds(2), ProbeTime = TimeSpan.FromSeconds(2);

    private readonly SiloEndpoint _endpoint;
    private readonly KvCacheClientOptions _options;
    private readonly Credentials _credentials;
    private readonly CircuitBreaker _breaker;
    private readonly ILogger _logger;
    private readonly LastFailure _failure;
    private readonly int _max;
    private readonly bool _bulk;
    private readonly BlockingCollection<SiloCall> _queue = [];
    private readonly List<Lane> _lanes = [];
    private readonly CancellationTokenSource _stopping = new();
    private int _calls; // waiting and running
    private long _movedBefore; // on connections that are gone
    private long _failures;
    private long _leaving; // when it said so last, as a timestamp; 0 for never
    private int _disposed;
    private Task _probing = Task.CompletedTask;

    public ConnectionLanes(
        SiloEndpoint endpoint, KvCacheClientOptions options, Credentials credentials, int max, bool bulk, CircuitBreaker breaker,
        ILogger logger, LastFailure failure)
    {
        _failure = failure;
        _endpoint = endpoint;
        _options = options;
        _credentials = credentials;
        _max = max;
        _bulk = bulk;
        _breaker = breaker;
        _logger = logger;
    }

    /// <summary>Whether no call waits or runs.</summary>
    public bool IsIdle => Volatile.Read(ref _calls) == 0;

    /// <summary>Whether the silo has said lately that it is about to leave. Whoever follows it to another address, or has nobody else, asks
    /// again soon: it may have come back.</summary>
    public bool IsLeaving =>
        Volatile.Read(ref _leaving) is not 0 and var said && Stopwatch.GetElapsedTime(said) < LeavingMemory;

    /// <summary>Calls that failed for what the silo did or did not do.</summary>
    public long Failures => Volatile.Read(ref _failures);

    /// <summary>Bytes that all connections have moved so far, in both directions.</summary>
    public long MovedBytes
    {
        get
        {
            lock (_lanes)
            {
                var moved = _movedBefore;
                foreach (var lane in _lanes)
                    moved += MovedBy(lane.Connection);
                return moved;
            }
        }
    }

    /// <summary>Runs a call on one of the connections. Never throws for what the silo or the network does.</summary>
    public async ValueTask<MissReason> RunAsync(SiloCall call)
    {
        if (Volatile.Read(ref _disposed) != 0 || (!_breaker.TryEnter() && !call.Insists))
            return MissReason.Unavailable;
        StartLaneIfBusy();
        try
        {
            _queue.Add(call, CancellationToken.None);
        }
        catch (InvalidOperationException)
        {
            _breaker.Left();
            return MissReason.Unavailable; // disposed meanwhile
        }

        return await call.Completion.ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        _queue.CompleteAdding();
        await _stopping.CancelAsync().ConfigureAwait(false);
        Task[] ends;
        lock (_lanes)
            ends = [.. _lanes.Select(lane => lane.Ended.Task)];
        await Task.WhenAll([.. ends, Volatile.Read(ref _probing)]).ConfigureAwait(false);
        while (_queue.TryTake(out var call))
        {
            if (call.TryStart())
                call.Finish(MissReason.Unavailable);
        }

        _queue.Dispose();
        _stopping.Dispose();
    }

    private void StartLaneIfBusy()
    {
        // What is idle cannot be told from the queue: a lane that has just taken another call may not have said so yet.
        var calls = Interlocked.Increment(ref _calls);
        lock (_lanes)
        {
            if (_lanes.Count >= Math.Min(calls, _max) || Volatile.Read(ref _disposed) != 0)
                return;
            var lane = new Lane();
            _lanes.Add(lane);
            new Thread(() => Serve(lane), LaneStackBytes) { IsBackground = true, Name = $"kvcache lane {_endpoint}" }.Start();
        }
    }

    private void Serve(Lane lane)
    {
        if (_bulk)
            ThreadSlice.ForBulk();
        else
            ThreadSlice.ForSmallRequests();
        try
        {
            while (true)
            {
                SiloCall? call;
                try
                {
                    if (!_queue.TryTake(out call, Timeout.Infinite, _stopping.Token))
                        return;
                }
                catch (OperationCanceledException)
                {
                    return;
                }

                if (call.TryStart())
                {
                    var reason = Serve(call, lane);
                    Interlocked.Decrement(ref _calls);
                    call.Finish(reason);
                }
                else
                {
                    Interlocked.Decrement(ref _calls);
                    _failure.Tell(call, $"{_endpoint.Text} has not answered in time");
                    ReportLeft(call);
                }
            }
        }
        finally
        {
            Drop(lane);
            lane.Ended.SetResult();
        }
    }

    // A call that waited its whole time, in the queue or for the silo, says that the silo is slow.
    private void ReportLeft(SiloCall call)
    {
        if (call.CancelledByCaller)
        {
            _breaker.Left();
            return;
        }

        Interlocked.Increment(ref _failures);
        if (!_breaker.Failed())
            return;
        LogOpened(_endpoint.Text);
        Volatile.Write(ref _probing, Task.Run(ProbeAsync));
    }

    // Behind the callers' backs: while other silos answer them, none of them finds out that this one is back.
    private async Task ProbeAsync()
    {
        for (var delay = _options.BreakerDelay; ; delay *= 2)
        {
            delay = delay < LongestProbeDelay ? delay : LongestProbeDelay;
            await Task.Delay(delay, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (_stopping.IsCancellationRequested || !_breaker.IsOpen)
                return;
            try
            {
                await Task.Factory.StartNew(Probe, _stopping.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default)
                    .ConfigureAwait(false);
                _breaker.Succeeded();
                return;
            }
            catch (Exception e) when (e is SocketException or IOException or ObjectDisposedException or OperationCanceledException)
            {
                // It is still away.
            }
            catch (Exception e) when (e is SiloException or KvFormatException)
            {
                return; // what it refuses, it would refuse again
            }
        }
    }

    private void Probe()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
        limit.CancelAfter(ProbeTime);
        Connect(limit.Token).Dispose();
    }

    private BlockConnection Connect(CancellationToken cancellationToken) => BlockConnection.Connect(
        _endpoint, _credentials.Tenant, _credentials.Secret.Value, _credentials.Tls, (int)_options.SocketBuffer.Bytes, cancellationToken);

    private MissReason Serve(SiloCall call, Lane lane)
    {
        var reason = MissReason.Unavailable;
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(call.Token, _stopping.Token);
        try
        {
            var connection = lane.Connection;
            if (connection is null || !TryRun(call, connection, ending.Token, out reason))
            {
                Drop(lane);
                connection = lane.Connection = Connect(ending.Token);
                reason = Run(call, connection, ending.Token);
            }

            if (connection.IsLeaving)
                Volatile.Write(ref _leaving, Stopwatch.GetTimestamp());
            if (ending.IsCancellationRequested)
                Drop(lane); // it was aborted, perhaps right behind the last byte
            _breaker.Succeeded();
        }
        catch (SiloException e)
        {
            reason = e.Status is WireStatus.ShuttingDown or WireStatus.LimitExceeded or WireStatus.Internal
                ? MissReason.Unavailable
                : MissReason.Refused;
            call.ConfigurationError = e.IsConfiguration ? e : null;
            LogRefused(_endpoint.Text, e.Message);
            _failure.Tell(call, InWords(e));
            if (e.Status is not (WireStatus.NamespaceForbidden or WireStatus.NamespaceUnknown or WireStatus.InvalidRequest))
            {
                Fail(lane, call);
                return reason;
            }

            // It has answered, and refuses this call alone: no other one is to miss for it.
            Interlocked.Increment(ref _failures);
            _breaker.Succeeded();
            if (e.Status != WireStatus.NamespaceForbidden)
                Drop(lane); // the rest of the request may not have been read
        }
        catch (KvFormatException e)
        {
            reason = MissReason.Refused;
            LogRefused(_endpoint.Text, e.Message);
            _failure.Tell(call, $"{_endpoint.Text}: {e.Message}");
            Fail(lane, call);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException or IOException)
        {
            reason = call.Token.IsCancellationRequested ? call.ReasonOfEnd : MissReason.Unavailable;
            LogBroken(_endpoint.Text, e.Message);
            _failure.Tell(
                call,
                call.Token.IsCancellationRequested ? $"{_endpoint.Text} has not answered in time" : $"{_endpoint.Text}: {e.Message}");
            Fail(lane, call);
        }
        catch (Exception e)
        {
            LogFailed(e, _endpoint.Text);
            _failure.Tell(call, $"{_endpoint.Text}: {e.Message}");
            Fail(lane, call);
        }

        return reason;
    }

    private string InWords(SiloException refusal) => refusal.Status switch
    {
        WireStatus.AuthenticationFailed => $"tenant {_credentials.Tenant}: the secret was refused by {_endpoint.Text}",
        WireStatus.NamespaceForbidden => $"tenant {_credentials.Tenant}: {_endpoint.Text} refused a namespace of another tenant",
        _ => $"{_endpoint.Text}: {refusal.Message}",
    };

    private static MissReason Run(SiloCall call, BlockConnection connection, CancellationToken ending)
    {
        using (ending.UnsafeRegister(static c => ((BlockConnection)c!).Abort(), connection))
            return call.Body(connection);
    }

    // A connection that the other side closed while it was idle, as a silo does that is restarted, says nothing of how the silo is now.
    private static bool TryRun(SiloCall call, BlockConnection idle, CancellationToken ending, out MissReason reason)
    {
        reason = MissReason.Unavailable;
        var received = idle.ReceivedBytes;
        try
        {
            reason = Run(call, idle, ending);
            return true;
        }
        catch (Exception e) when (e is SocketException or IOException && idle.ReceivedBytes == received && !ending.IsCancellationRequested)
        {
            return false;
        }
    }

    private void Fail(Lane lane, SiloCall call)
    {
        Drop(lane);
        ReportLeft(call);
    }

    private void Drop(Lane lane)
    {
        var connection = lane.Connection;
        lock (_lanes)
        {
            _movedBefore += MovedBy(connection);
            lane.Connection = null;
        }

        connection?.Dispose();
    }

    private static long MovedBy(BlockConnection? connection) => connection is null ? 0 : connection.ReceivedBytes + connection.SentBytes;

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Endpoint} failed several times in a row; for a while every call to it is a miss")]
    private partial void LogOpened(string endpoint);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Endpoint} does not work with this client: {Reason}")]
    private partial void LogRefused(string endpoint, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "Connection to {Endpoint} broke: {Reason}")]
    private partial void LogBroken(string endpoint, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "A call to {Endpoint} failed")]
    private partial void LogFailed(Exception exception, string endpoint);

    private sealed class Lane
    {
        public TaskCompletionSource Ended { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public BlockConnection? Connection { get; set; }
    }
}
