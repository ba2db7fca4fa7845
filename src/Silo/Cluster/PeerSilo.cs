using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using KvCache.Engine.Index;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Silo.Hosting;
using KvCache.Silo.Security;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>Another silo as seen from this one.</summary>
internal sealed class PeerSilo : IDisposable
{
    private const int MaxIdleConnections = 4;

    private readonly ClusterSecrets _secrets;
    private readonly TlsClient _tls;
    private readonly Stack<BlockConnection> _idle = new();
    private string[] _endpoints = [];
    private long _available;
    private long _lastHeard, _provenAt;
    private ulong _behind;
    private bool _connected;
    private bool _disposed;

    public PeerSilo(SiloAddress address, IndexReplica replica, ClusterSecrets secrets, TlsClient tls)
    {
        Address = address;
        Replica = replica;
        _provenAt = Stopwatch.GetTimestamp(); // a new member has the time of the limit to be heard
        _secrets = secrets;
        _tls = tls;
    }

    public SiloAddress Address { get; }

    /// <summary>What is known of its blocks, and its slot in the index.</summary>
    public IndexReplica Replica { get; }

    public ulong Bit => 1UL << Replica.Holder;

    /// <summary>Its data plane as seen from other machines; empty before it was asked.</summary>
    public string[] Endpoints
    {
        get => Volatile.Read(ref _endpoints);
        set => Volatile.Write(ref _endpoints, value);
    }

    /// <summary>Arena memory that a write could get there, as it said last.</summary>
    public long AvailableBytes => Volatile.Read(ref _available);

    /// <summary>It has said that it is about to leave: it can be asked for its blocks, and nothing is given to it.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Deltas that are on their way to this silo.</summary>
    public ulong Behind => Volatile.Read(ref _behind);

    /// <summary>Whether its blocks are worth asking for.</summary>
    public bool IsReachable(TimeSpan silenceLimit) =>
        Volatile.Read(ref _connected) && Stopwatch.GetElapsedTime(Volatile.Read(ref _lastHeard)) < silenceLimit;

    /// <summary>
    /// The latest moment at which it certainly lived and belonged to the cluster, as a <see cref="Stopwatch"/>'s timestamp: when it was
    /// asked what it has answered since.
    /// </summary>
    public long ProvenAt => Volatile.Read(ref _provenAt);

    /// <summary>It has spoken.</summary>
    /// <param name="news">What it said.</param>
    /// <param name="behind">Changes that are still to come.</param>
    /// <param name="asked">When it was asked, as a <see cref="Stopwatch"/>'s timestamp.</param>
    public void Heard(in PeerNews news, ulong behind, long asked)
    {
        Volatile.Write(ref _provenAt, asked);
        Volatile.Write(ref _available, news.AvailableBytes);
        Volatile.Write(ref _behind, behind);
        Volatile.Write(ref _lastHeard, Stopwatch.GetTimestamp());
        Volatile.Write(ref _connected, true);
    }

    /// <summary>Its connection has broken.</summary>
    public void Lost() => Volatile.Write(ref _connected, false);

    /// <summary>Makes a request on a connection to its data plane.</summary>
    /// <param name="request">The request. Made once more, on a fresh connection, when an idle one turns out to have been closed by the
    /// other side before it answered anything.</param>
    /// <param name="limit">Ends the request, and the connection with it.</param>
    /// <exception cref="IOException">Its address is not known yet, or it is not a member any more.</exception>
    public T Use<T>(Func<BlockConnection, T> request, CancellationToken limit)
    {
        while (true)
        {
            var connection = TakeIdle();
            var wasIdle = connection is not null;
            connection ??= Connect(limit);
            var received = connection.ReceivedBytes;
            try
            {
                T result;
                using (limit.UnsafeRegister(static c => ((BlockConnection)c!).Abort(), connection))
                    result = request(connection);
                if (limit.IsCancellationRequested)
                    connection.Dispose(); // it may be aborted
                else
                    Return(connection);
                return result;
            }
            catch (SocketException) when (wasIdle && connection.ReceivedBytes == received && !limit.IsCancellationRequested)
            {
                connection.Dispose();
            }
            catch
            {
                connection.Dispose();
                throw;
            }
        }
    }

    private BlockConnection? TakeIdle()
    {
        lock (_idle)
        {
            if (_disposed)
                throw new IOException($"Silo {Address} has left.");
            return _idle.TryPop(out var idle) ? idle : null;
        }
    }

    private void Return(BlockConnection connection)
    {
        lock (_idle)
        {
            if (!_disposed && _idle.Count < MaxIdleConnections)
            {
                _idle.Push(connection);
                return;
            }
        }

        connection.Dispose();
    }

    /// <exception cref="IOException">Its address is not known yet.</exception>
    public BlockConnection Connect(CancellationToken cancellationToken)
    {
        var endpoint = Endpoints.Select(SiloEndpoint.TryParse).FirstOrDefault(parsed => parsed is not null)
            ?? throw new IOException($"Silo {Address} has not told its address yet.");
        return BlockConnection.Connect(
            endpoint, WireProtocol.PeerTenant, Encoding.UTF8.GetString(_secrets.Own), _tls, 0, cancellationToken);
    }

    public void Dispose()
    {
        lock (_idle)
        {
            _disposed = true;
            while (_idle.TryPop(out var connection))
                connection.Dispose();
        }
    }
}
