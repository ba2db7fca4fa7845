using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Silo.Accounts;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Telemetry;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Connections;

/// <summary>
/// Listens for a front end, gives every connection a thread of its own, bounds their number, and that of each tenant, and ends those that
/// do not keep up.
/// </summary>
/// <remarks>
/// A thread that blocks in the kernel moves bytes between socket and arena fastest, and the scheduler, not a shared pool, keeps
/// a small request from waiting behind large ones. Connections are bounded, so threads are.
/// </remarks>
/// <param name="name">What listens, for messages: "The data plane".</param>
/// <param name="section">Section of its configuration, for messages.</param>
/// <param name="options">Limits.</param>
/// <param name="counters">What is counted.</param>
/// <param name="tls">What the TCP port shows; null for a plain one.</param>
/// <param name="open">Makes a connection of an accepted one and the name of its peer.</param>
/// <param name="quotas">How many connections a tenant may have.</param>
/// <param name="reserved">Places that only other silos get.</param>
/// <param name="logger">Log of the front end.</param>
internal sealed partial class ConnectionListener(
    string name,
    string section,
    ConnectionOptions options,
    SiloCounters counters,
    TlsServer? tls,
    Func<ByteChannel, string, Connection> open,
    TenantQuotas quotas,
    int reserved,
    ILogger logger)
    : IDisposable
{
    private const int StackBytes = 256 * 1024;
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _stopping = new();
    private readonly HashSet<Connection> _connections = [];
    private readonly UnprovenConnections<Connection> _unproven = new(options.MaxUnproven, options.MaxUnprovenPerAddress);
    private readonly Dictionary<string, int> _admitted = new(StringComparer.Ordinal); // by tenant; guarded by _connections
    private int _places; // that are taken; guarded by _connections
    private readonly List<Socket> _listeners = [];
    private readonly List<Task> _loops = [];
    private string _unix = "";

    /// <summary>Open connections.</summary>
    public int Count
    {
        get
        {
            lock (_connections)
                return _connections.Count;
        }
    }

    /// <summary>Connections of a tenant.</summary>
    public int CountOf(string tenant)
    {
        lock (_connections)
            return _admitted.GetValueOrDefault(tenant);
    }

    /// <summary>Listens on a Unix socket.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="mode">Its mode, octal.</param>
    /// <param name="group">Its group; empty for the user's own.</param>
    /// <exception cref="IOException">The path is taken, or the file cannot be given to the group.</exception>
    public void ListenUnix(string path, string mode, string group)
    {
        UnixSocketFile.MakeFolder(path);
        UnixSocketFile.RemoveStale(path);
        Listen(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), new UnixDomainSocketEndPoint(path));
        _unix = path;
        UnixAccess.Apply(path, mode, group);
    }

    /// <summary>Listens on a TCP address.</summary>
    /// <returns>The address, with the port that was chosen where 0 was asked for.</returns>
    /// <exception cref="IOException">The address cannot be listened on.</exception>
    public IPEndPoint ListenTcp(string address)
    {
        var endpoint = IPEndPoint.Parse(address);
        return (IPEndPoint)Listen(new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp), endpoint).LocalEndPoint!;
    }

    /// <summary>Begins to accept.</summary>
    /// <param name="everyTick">Called four times a second; null for nothing.</param>
    public void Start(Action? everyTick = null)
    {
        foreach (var listener in _listeners)
            _loops.Add(AcceptAsync(listener));
        _loops.Add(WatchAsync(everyTick));
    }

    /// <summary>Stops to accept, ends the connections and waits for their threads.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        foreach (var listener in _listeners)
            listener.Dispose();
        await Task.WhenAll(_loops);
        foreach (var connection in Snapshot())
            connection.Abort("the silo is stopping");
        var began = Stopwatch.GetTimestamp();
        while (Count > 0 && Stopwatch.GetElapsedTime(began) < DrainTime && !cancellationToken.IsCancellationRequested)
            await Task.Delay(10, CancellationToken.None);
        if (_unix.Length > 0)
            File.Delete(_unix);
    }

    public void Dispose() => _stopping.Dispose();

    private Socket Listen(Socket listener, EndPoint endpoint)
    {
        ApplyBuffers(listener);
        try
        {
            listener.Bind(endpoint);
            listener.Listen(512);
        }
        catch (SocketException e)
        {
            listener.Dispose();
            throw new IOException($"{name} cannot listen on {endpoint}: {e.Message}. Choose a free address in {section}.", e);
        }

        _listeners.Add(listener);
        return listener;
    }

    private void ApplyBuffers(Socket socket) => FrameSocket.ApplyBuffers(socket, (int)options.SocketBuffer.Bytes);

    private async Task AcceptAsync(Socket listener)
    {
        while (!_stopping.IsCancellationRequested)
        {
            Socket socket;
            try
            {
                socket = await listener.AcceptAsync(_stopping.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (_stopping.IsCancellationRequested)
                    return;
                LogAcceptFailed(e); // for example out of file descriptors: wait for some to be closed
                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None);
                continue;
            }

            Accept(socket);
        }
    }

    // Whatever happens to one connection, the loop goes on to the next.
    private void Accept(Socket socket)
    {
        counters.Connected();
        Connection? connection = null;
        try
        {
            ApplyBuffers(socket);
            var remote = socket.RemoteEndPoint as IPEndPoint;
            connection = open(SiloTls.Accept(socket, tls), remote?.ToString() ?? "unix");
            connection.Address = remote?.Address;
            connection.Admission = Admit;
            connection.Turns = quotas.Turns;
            lock (_connections)
                _connections.Add(connection);
            if (_unproven.Add(connection, connection.Address) is { } displaced)
            {
                counters.Displaced();
                displaced.Displace();
            }

            new Thread(Run, StackBytes) { IsBackground = true, Name = "kvcache session" }.Start(connection);
        }
        catch (Exception e) when (e is SocketException or OutOfMemoryException)
        {
            LogAcceptFailed(e); // the peer has gone, or the host has no thread left
            socket.Dispose();
            if (connection is not null)
                End(connection);
            else
                counters.Disconnected();
        }
    }

    // A protocol without a proof cannot tell who is worth a place: whoever has done nothing for long gives it up.
    private bool Admit(Connection connection, string tenant)
    {
        var isPeer = tenant == WireProtocol.PeerTenant;
        Connection? displaced = null;
        if (connection.Tenant == tenant)
            return true;
        lock (_connections)
        {
            var has = _admitted.GetValueOrDefault(tenant);
            if ((!isPeer && has >= quotas.ConnectionsOf(tenant, options.MaxConnections))
                || _places >= options.MaxConnections - (isPeer ? 0 : reserved))
            {
                displaced = connection.AsksProof ? null : LongestIdle();
                if (displaced is null)
                {
                    counters.Rejected();
                    return false;
                }
            }

            if (connection.Tenant is { } before)
                Release(before); // another tenant's until now
            _places++;
            _admitted[tenant] = _admitted.GetValueOrDefault(tenant) + 1;
        }

        _unproven.Remove(connection);
        displaced?.Displace();
        return true;
    }

    private void Release(string tenant)
    {
        _places--;
        if (--_admitted[tenant] == 0)
            _admitted.Remove(tenant);
    }

    private Connection? LongestIdle()
    {
        Connection? longest = null;
        var idle = options.HandshakeTimeout;
        foreach (var connection in _connections)
        {
            if (connection is not { Tenant: not null, Idle: { } time } || time <= idle)
                continue;
            (longest, idle) = (connection, time);
        }

        return longest;
    }

    private void Run(object? state)
    {
        var connection = (Connection)state!;
        connection.Run();
        End(connection);
    }

    private void End(Connection connection)
    {
        _unproven.Remove(connection);
        lock (_connections)
        {
            _connections.Remove(connection);
            if (connection.Tenant is { } tenant)
                Release(tenant);
        }

        connection.Dispose();
        counters.Disconnected();
    }

    private async Task WatchAsync(Action? everyTick)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(250));
        try
        {
            while (await timer.WaitForNextTickAsync(_stopping.Token))
            {
                Try(everyTick);
                var now = Stopwatch.GetTimestamp();
                foreach (var connection in Snapshot())
                    Try(() => Watch(connection, now));
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private void Watch(Connection connection, long now)
    {
        if (connection.Tenant is { } tenant && quotas.IsClosed(tenant))
            connection.Abort("its tenant was disabled or deleted");
        else
            connection.Watch(now);
    }

    // One connection's failure must not be the end of all others' limits.
    private void Try(Action? action)
    {
        try
        {
            action?.Invoke();
        }
        catch (Exception e)
        {
            counters.WatchFailed();
            LogWatchFailed(e, name);
        }
    }

    private Connection[] Snapshot()
    {
        lock (_connections)
            return [.. _connections];
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "{Name}: the watch over its connections failed for a moment")]
    private partial void LogWatchFailed(Exception exception, string name);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection could not be accepted")]
    private partial void LogAcceptFailed(Exception exception);
}
