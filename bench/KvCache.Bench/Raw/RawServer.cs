using System.Net;
using System.Net.Sockets;
using KvCache.Bench.Memory;
using KvCache.Bench.Processes;

namespace KvCache.Bench.Raw;

/// <summary>
/// The hidden <c>raw-server</c> command: the least that any server of blocks must do, one blocking thread per connection,
/// no framing to speak of, no checks. Announces a port and the path of a socket, and serves until it is asked to end.
/// </summary>
internal static class RawServer
{
    // Blocks of several readers and writers lie apart, as in an arena: what all of them share would stay in the processor's cache.
    private const int Places = 8;

    public static async Task<int> RunAsync(string folder, long memoryBytes, CancellationToken ended)
    {
        var tcp = new IPEndPoint(IPAddress.Loopback, 0);
        using var tcpListener = Listen(new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp), tcp);
        var path = Path.Combine(folder, "raw.sock");
        using var unixListener =
            Listen(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), new UnixDomainSocketEndPoint(path));
        using var tlsListener = Listen(new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp), tcp);
        using var certificate = BenchCertificate.Create();
        var memory = WarmBuffer.Private(memoryBytes);
        StartThread(() => Accept(tcpListener, memory, Serve));
        StartThread(() => Accept(unixListener, memory, Serve));
        StartThread(() => Accept(tlsListener, memory, (connection, all, place) => RawTls.Serve(connection, certificate, all, place)));
        await OwnServer.ServeAsync([PortOf(tcpListener), path, PortOf(tlsListener)], ended);
        return 0;
    }

    private static Socket Listen(Socket socket, EndPoint address)
    {
        socket.Bind(address);
        socket.Listen();
        return socket;
    }

    private static string PortOf(Socket listener) => $"{((IPEndPoint)listener.LocalEndPoint!).Port}";

    private static void Accept(Socket listener, WarmBuffer memory, Action<Socket, WarmBuffer, long> serve)
    {
        for (var i = 0; ; i = (i + 1) % Places)
        {
            var connection = listener.Accept();
            var place = i * (memory.Length / Places);
            StartThread(() => serve(connection, memory, place));
        }
    }

    private static void StartThread(Action body) => new Thread(() => body()) { IsBackground = true }.Start();

    private static void Serve(Socket connection, WarmBuffer memory, long place)
    {
        using (connection)
        {
            try
            {
                var free = place;
                while (connection.TryReceiveRequest(out var request))
                    Answer(connection, request, memory, place, ref free);
            }
            catch (Exception e) when (e is SocketException or IOException)
            {
                // The client is gone; it knows better than we do whether that was wanted.
            }
        }
    }

    private static void Answer(Socket connection, RawRequest request, WarmBuffer memory, long place, ref long free)
    {
        switch (request.Operation)
        {
            case RawOperation.Tune:
                new SocketTuning(checked((int)request.Bytes), request.Count == 1).Apply(connection);
                connection.SendAck();
                break;
            case RawOperation.Get:
                // The blocks of a batch lie apart in a real arena: one send each.
                for (var block = 0; block < request.Count; block++)
                    connection.SendExactly(memory.Slice(place + (block * request.Bytes), checked((int)request.Bytes)));
                break;
            case RawOperation.Put:
                // Who keeps what is put cannot write all of it to the same place: each block goes behind the last one.
                for (var block = 0; block < request.Count; block++)
                {
                    if (free + request.Bytes > memory.Length)
                        free = 0;
                    connection.ReceiveExactly(memory.Slice(free, checked((int)request.Bytes)));
                    free += request.Bytes;
                }

                connection.SendAck();
                break;
            default:
                throw new InvalidDataException($"Unknown raw operation {request.Operation}.");
        }
    }
}
