using System.Diagnostics;
using System.Net.Sockets;
using KvCache.Engine.Index;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Follows another silo's log on a thread and a connection of its own: asks for what changed, over and over, and for everything when it has
/// fallen behind or has never heard of that silo.
/// </summary>
internal sealed partial class PeerLink : IDisposable
{
    private const int LinkStackBytes = 256 * 1024;
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(1);

    // Few changes are left to gather for this long: a question for each would cost both silos more than the changes are worth.
    private static readonly TimeSpan Gather = TimeSpan.FromMilliseconds(2);

    private readonly PeerSilo _peer;
    private readonly Func<PeerSilo, CancellationToken, string[]> _endpoints;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly IndexDelta[] _deltas = new IndexDelta[BlockConnection.MaxDeltas];
    private readonly Thread _thread;
    private string _told = ""; // why it cannot be followed; said once

    /// <param name="peer">The silo.</param>
    /// <param name="endpoints">Asks a silo for its addresses.</param>
    /// <param name="logger">Where to log.</param>
    public PeerLink(PeerSilo peer, Func<PeerSilo, CancellationToken, string[]> endpoints, ILogger logger)
    {
        _peer = peer;
        _endpoints = endpoints;
        _logger = logger;
        _thread = new Thread(Run, LinkStackBytes) { IsBackground = true, Name = $"kvcache link {peer.Address}" };
    }

    public PeerSilo Peer => _peer;

    public void Start() => _thread.Start();

    /// <summary>Ends the connection and the thread.</summary>
    public void Dispose()
    {
        _stopping.Cancel();
        if (_thread.IsAlive)
            _thread.Join();
        _stopping.Dispose();
    }

    private void Run()
    {
        var pause = FirstPause;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                _peer.Endpoints = _endpoints(_peer, _stopping.Token);
                using var connection = _peer.Connect(_stopping.Token);
                using (_stopping.Token.UnsafeRegister(static c => ((BlockConnection)c!).Abort(), connection))
                {
                    LogConnected(_peer.Address.ToString());
                    _told = "";
                    pause = FirstPause;
                    Follow(connection);
                }
            }
            catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
            {
                // The silo has left, or this one does.
            }
            catch (Exception e)
                when (e is SocketException or IOException or SiloException or KvFormatException or ObjectDisposedException
                or TimeoutException or OperationCanceledException or global::Orleans.Runtime.OrleansException)
            {
                if (!_stopping.IsCancellationRequested && e.Message != _told)
                    LogLost(_peer.Address.ToString(), _told = e.Message);
            }
            catch (Exception e)
            {
                LogFailed(e, _peer.Address.ToString());
            }

            _peer.Lost();
            _stopping.Token.WaitHandle.WaitOne(pause);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    private void Follow(BlockConnection connection)
    {
        var replica = _peer.Replica;
        while (!_stopping.IsCancellationRequested)
        {
            if (!replica.IsLive)
                connection.ReadSnapshot(replica, _deltas);
            var asked = Stopwatch.GetTimestamp();
            var news = connection.ReadDeltas(replica.Next, Wait, _deltas);
            replica.Witness(news.Clock);
            if (news.Count == IndexLog.Gap
                || replica.Apply(news.Incarnation, news.First, _deltas.AsSpan(0, news.Count)) == ReplicaOutcome.NeedsSnapshot)
            {
                LogFellBehind(_peer.Address.ToString());
                connection.ReadSnapshot(replica, _deltas);
            }

            _peer.Heard(in news, news.Next - Math.Min(news.Next, replica.Next), asked);
            if (news.Count is > 0 and < 256)
                _stopping.Token.WaitHandle.WaitOne(Gather);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Following the blocks of silo {Silo}")]
    private partial void LogConnected(string silo);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} cannot be followed for now: {Reason}")]
    private partial void LogLost(string silo, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Fell behind silo {Silo}; taking a full copy of what it holds")]
    private partial void LogFellBehind(string silo);

    [LoggerMessage(Level = LogLevel.Error, Message = "Following silo {Silo} failed")]
    private partial void LogFailed(Exception exception, string silo);
}
