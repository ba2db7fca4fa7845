using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using KvCache.Testing;

namespace KvCache.RedisTests.Infrastructure;

/// <summary>Stands between the tier and Redis, and can stop the bytes of either direction in the middle of a payload.</summary>
internal sealed class RedisProxy : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private volatile int _target;
    private int _connections;

    public RedisProxy(RedisProcess redis)
    {
        _target = redis.Port;
        _listener.Start();
        Run(Accept);
    }

    /// <summary>Lets new connections go to another Redis, as a name that is pointed there; those that exist stay.</summary>
    public void PointTo(RedisProcess redis) => _target = redis.Port;

    public string Address => $"127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    /// <summary>Bytes to Redis.</summary>
    public Gate Requests { get; } = new();

    /// <summary>Bytes from Redis.</summary>
    public Gate Replies { get; } = new();

    /// <summary>Connections whose client has not closed them, or of which bytes are still to be sent on.</summary>
    public int Connections => Volatile.Read(ref _connections);

    public void Dispose()
    {
        Requests.Release();
        Replies.Release();
        _listener.Dispose();
    }

    private static void Run(Action body) => new Thread(() => body()) { IsBackground = true }.Start();

    private void Accept()
    {
        try
        {
            while (true)
            {
                var client = _listener.AcceptSocket();
                var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                client.NoDelay = true;
                try
                {
                    server.Connect(IPAddress.Loopback, _target);
                }
                catch (SocketException)
                {
                    client.Dispose();
                    continue;
                }

                Interlocked.Increment(ref _connections);
                Run(() =>
                {
                    Pump(client, server, Requests);
                    Interlocked.Decrement(ref _connections);
                });
                Run(() => Pump(server, client, Replies));
            }
        }
        catch (Exception e) when (e is SocketException or InvalidOperationException)
        {
            // Disposed.
        }
    }

    private static void Pump(Socket from, Socket to, Gate gate)
    {
        var buffer = new byte[64 << 10];
        try
        {
            for (int got; (got = from.Receive(buffer)) > 0;)
            {
                gate.Pass(from, got);
                for (var sent = 0; sent < got;)
                    sent += to.Send(buffer.AsSpan(sent, got - sent));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // One end has gone; so does the other.
        }

        from.Dispose();
        to.Dispose();
    }

    /// <summary>Lets so many bytes of each connection pass in one direction, then none until released.</summary>
    internal sealed class Gate
    {
        private readonly object _lock = new();
        private readonly ConditionalWeakTable<Socket, StrongBox<long>> _passed = [];
        private long _limit = long.MaxValue;
        private bool _reached;

        public bool Reached
        {
            get
            {
                lock (_lock)
                    return _reached;
            }
        }

        public void HoldAfter(long bytes)
        {
            lock (_lock)
            {
                _limit = bytes;
                _reached = false;
                _passed.Clear();
            }
        }

        public void Release()
        {
            lock (_lock)
            {
                _limit = long.MaxValue;
                Monitor.PulseAll(_lock);
            }
        }

        public void Pass(Socket connection, int bytes)
        {
            lock (_lock)
            {
                var passed = _passed.GetOrCreateValue(connection);
                passed.Value += bytes;
                while (passed.Value > _limit)
                {
                    _reached = true;
                    Monitor.Wait(_lock);
                }
            }
        }
    }
}
