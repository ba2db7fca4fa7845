using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KvCache.Bench.Processes;

namespace KvCache.Bench.Raw;

/// <summary>The raw server, in a process of its own: two threads of one process would share address space and page tables.</summary>
internal sealed class RawServerProcess : IDisposable
{
    private readonly DirectoryInfo _folder;
    private readonly ChildProcess _process;
    private readonly EndPoint _tcp;
    private readonly EndPoint _unix;

    private RawServerProcess(long memoryBytes)
    {
        _folder = Directory.CreateTempSubdirectory("kvcache-raw-");
        _process = ChildProcess.Own("raw-server", "--folder", _folder.FullName, "--memory", memoryBytes.ToString(CultureInfo.InvariantCulture));
        if (!int.TryParse(_process.Output.ReadLine(), CultureInfo.InvariantCulture, out var port) || _process.Output.ReadLine() is not { Length: > 0 } path)
        {
            Dispose();
            throw new InvalidOperationException("The raw server did not start; its error is above.");
        }
        _tcp = new IPEndPoint(IPAddress.Loopback, port);
        _unix = new UnixDomainSocketEndPoint(path);
    }

    /// <param name="memoryBytes">Memory that puts fill in turn, no less than the largest request.</param>
    public static RawServerProcess Start(long memoryBytes) => new(memoryBytes);

    /// <summary>Connects with both ends tuned.</summary>
    public Socket Connect(RawTransport transport, SocketTuning tuning)
    {
        var (socket, address) = transport is RawTransport.Tcp
            ? (new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp), _tcp)
            : (new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), _unix);
        tuning.Apply(socket);
        socket.Connect(address);
        socket.SendRequest(new RawRequest(RawOperation.Tune, tuning.Reno ? 1 : 0, tuning.BufferBytes));
        socket.ReceiveAck();
        return socket;
    }

    public void Dispose()
    {
        _process.Dispose();
        _folder.Delete(recursive: true);
    }
}
