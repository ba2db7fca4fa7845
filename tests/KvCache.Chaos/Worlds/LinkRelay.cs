using System.Net;
using System.Net.Sockets;

namespace KvCache.Chaos.Worlds;

/// <summary>Stands before a silo's data plane, and can be closed, slow, or break what is open.</summary>
internal sealed class LinkRelay : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly IPEndPoint _silo;
    private readonly HashSet<Socket> _sockets = [];
    private readonly Lock _lock = new();
    private TaskCompletionSource? _closed;
    private volatile int _bytesPerSecond;

    public LinkRelay(IPEndPoint silo)
    {
        _silo = silo;
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(256);
        _ = AcceptAsync();
    }

    public IPEndPoint Address => (IPEndPoint)_listener.LocalEndPoint!;

    /// <summary>Nothing passes, and nobody is told.</summary>
    public void Close()
    {
        lock (_lock)
            _closed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>So much passes at most.</summary>
    public void Slow(int bytesPerSecond) => _bytesPerSecond = bytesPerSecond;

    /// <summary>Everything passes again.</summary>
    public void Open()
    {
        _bytesPerSecond = 0;
        lock (_lock)
        {
            _closed?.SetResult();
            _closed = null;
        }
    }

    /// <summary>Breaks all connections, as a firewall that has lost its table does.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            foreach (var socket in _sockets)
            {
                try
                {
                    socket.LingerState = new LingerOption(true, 0);
                }
                catch (Exception e) when (e is SocketException or ObjectDisposedException)
                {
                    // It has ended already.
                }

                socket.Dispose();
            }

            _sockets.Clear();
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        Open();
        Reset();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
                _ = ServeAsync(await _listener.AcceptAsync().ConfigureAwait(false));
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The run is over.
        }
    }

    private async Task ServeAsync(Socket client)
    {
        var silo = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        lock (_lock)
        {
            _sockets.Add(client);
            _sockets.Add(silo);
        }

        try
        {
            await PassableAsync().ConfigureAwait(false);
            await silo.ConnectAsync(_silo).ConfigureAwait(false);
            client.NoDelay = silo.NoDelay = true;
            await Task.WhenAny(PassAsync(client, silo), PassAsync(silo, client)).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The silo is gone, or the link was broken.
        }

        // Both ends as soon as one has ended: nothing that this harness passes on closes one direction only.
        client.Dispose();
        silo.Dispose();
        lock (_lock)
        {
            _sockets.Remove(client);
            _sockets.Remove(silo);
        }
    }

    private async Task PassAsync(Socket from, Socket to)
    {
        var buffer = new byte[64 << 10];
        try
        {
            for (int got; (got = await from.ReceiveAsync(buffer).ConfigureAwait(false)) > 0;)
            {
                await PassableAsync().ConfigureAwait(false);
                if (_bytesPerSecond is var speed and > 0)
                    await Task.Delay(TimeSpan.FromSeconds((double)got / speed)).ConfigureAwait(false);
                for (var sent = 0; sent < got;)
                    sent += await to.SendAsync(buffer.AsMemory(sent, got - sent)).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // One side broke.
        }
    }

    private Task PassableAsync()
    {
        lock (_lock)
            return _closed?.Task ?? Task.CompletedTask;
    }
}
