using System.Net;
using System.Net.Sockets;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>
/// Stands between a client and a silo. It passes on so many bytes of what the silo sends, or of what the client sends, and keeps the rest
/// back until it is told to go on.
/// </summary>
internal sealed class Relay : IDisposable
{
    // The system lets buffers grow to tens of MiB otherwise, in which all that is to be kept back may find room.
    private const int BufferBytes = 256 << 10;

    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly IPEndPoint _silo;
    private readonly List<Socket> _sockets = [];
    private readonly Lock _lock = new();
    private long _fromSilo = long.MaxValue, _fromClient = long.MaxValue;
    private TaskCompletionSource _open = new();

    public Relay(string silo)
    {
        _silo = IPEndPoint.Parse(silo["tcp:".Length..]);
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(16);
        _ = AcceptAsync();
    }

    /// <summary>Connections that clients have made so far.</summary>
    public int Accepted { get; private set; }

    /// <summary>Whether bytes are being kept back.</summary>
    public bool KeepsBack { get; private set; }

    public string Endpoint => $"tcp:{_listener.LocalEndPoint}";

    /// <summary>From now on only so many bytes pass.</summary>
    public void Limit(long fromSilo = long.MaxValue, long fromClient = long.MaxValue)
    {
        lock (_lock)
            (_fromSilo, _fromClient, KeepsBack) = (fromSilo, fromClient, false);
    }

    /// <summary>Everything passes again, and what was kept back.</summary>
    public void Open()
    {
        lock (_lock)
        {
            (_fromSilo, _fromClient, KeepsBack) = (long.MaxValue, long.MaxValue, false);
            _open.TrySetResult();
            _open = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    /// <summary>Breaks all connections.</summary>
    public void Cut()
    {
        lock (_lock)
        {
            foreach (var socket in _sockets)
                socket.Dispose();
            _sockets.Clear();
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        Cut();
        Open();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var client = await _listener.AcceptAsync();
                var silo = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                silo.ReceiveBufferSize = client.ReceiveBufferSize = BufferBytes;
                lock (_lock)
                    _sockets.AddRange([client, silo]);
                Accepted++;
                _ = ConnectAsync(client, silo);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    private async Task ConnectAsync(Socket client, Socket silo)
    {
        try
        {
            await silo.ConnectAsync(_silo);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            client.Dispose(); // the silo is gone
            return;
        }

        _ = PassAsync(client, silo, isSilo: false);
        _ = PassAsync(silo, client, isSilo: true);
    }

    private async Task PassAsync(Socket from, Socket to, bool isSilo)
    {
        var buffer = new byte[64 << 10];
        try
        {
            for (int got; (got = await from.ReceiveAsync(buffer)) > 0;)
            {
                var rest = buffer.AsMemory(0, got);
                while (rest.Length > 0)
                {
                    var (now, opened) = Take(isSilo, rest.Length);
                    for (var piece = rest[..now]; piece.Length > 0;)
                        piece = piece[await to.SendAsync(piece)..];
                    rest = rest[now..];
                    if (rest.Length > 0)
                        await opened;
                }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // One side broke.
        }

        from.Dispose();
        to.Dispose();
    }

    private (int Bytes, Task Opened) Take(bool isSilo, int wanted)
    {
        lock (_lock)
        {
            ref var left = ref isSilo ? ref _fromSilo : ref _fromClient;
            var now = (int)Math.Min(wanted, left);
            left -= now;
            KeepsBack |= now < wanted;
            return (now, _open.Task);
        }
    }
}
