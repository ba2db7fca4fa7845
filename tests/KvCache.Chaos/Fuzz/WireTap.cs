using System.Net;
using System.Net.Sockets;

namespace KvCache.Chaos.Fuzz;

/// <summary>Stands between one client and a silo, and keeps what either says.</summary>
internal sealed class WireTap : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly MemoryStream _requests = new(), _answers = new();
    private readonly Task _running;

    public WireTap(IPEndPoint silo)
    {
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen();
        _running = Task.Run(async () =>
        {
            using var client = await _listener.AcceptAsync().ConfigureAwait(false);
            using var behind = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await behind.ConnectAsync(silo).ConfigureAwait(false);
            await Task.WhenAll(PassAsync(client, behind, _requests), PassAsync(behind, client, _answers)).ConfigureAwait(false);
        });
    }

    public string Address => $"tcp:{_listener.LocalEndPoint}";

    /// <summary>What was said, once the client has ended.</summary>
    public async Task<(byte[] Requests, byte[] Answers)> EndAsync()
    {
        await _running.ConfigureAwait(false);
        return (_requests.ToArray(), _answers.ToArray());
    }

    public void Dispose() => _listener.Dispose();

    private static async Task PassAsync(Socket from, Socket to, MemoryStream kept)
    {
        var buffer = new byte[64 << 10];
        try
        {
            for (int got; (got = await from.ReceiveAsync(buffer).ConfigureAwait(false)) > 0;)
            {
                kept.Write(buffer.AsSpan(0, got));
                for (var sent = 0; sent < got;)
                    sent += await to.SendAsync(buffer.AsMemory(sent, got - sent)).ConfigureAwait(false);
            }

            to.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // The other direction has ended it.
        }
    }
}
