using System.Globalization;
using System.Net.Sockets;
using System.Text;
using KvCache.Processes;
using KvCache.Testing;

namespace KvCache.RedisTests.Infrastructure;

/// <summary>Real sentinels that watch one master under the name <c>mymaster</c>.</summary>
internal sealed class Sentinels : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-sentinel-");
    private readonly List<ChildProcess> _processes = [];
    private readonly List<int> _ports = [];

    public Sentinels(int count, RedisProcess master)
    {
        for (var i = 0; i < count; i++)
        {
            var port = LoopbackPort.FindFree();
            var file = Path.Combine(_folder.FullName, $"{i}.conf");
            File.WriteAllText(file, string.Create(CultureInfo.InvariantCulture, $"""
                bind 127.0.0.1
                port {port}
                dir {_folder.FullName}
                sentinel monitor mymaster 127.0.0.1 {master.Port} {count}
                sentinel down-after-milliseconds mymaster 1000
                sentinel failover-timeout mymaster 3000

                """));
            _processes.Add(ChildProcess.Start(ProgramCommand.Of(ProgramCommand.Find("redis-sentinel")!, [file])));
            _ports.Add(port);
        }
    }

    /// <summary>As they are written in a connection string.</summary>
    public string Addresses => string.Join(';', _ports.Select(port => $"127.0.0.1:{port}"));

    public bool AreSettled => _ports.TrueForAll(port => Ask(port) is var state
        && state.Contains("slaves=1", StringComparison.Ordinal) && state.Contains($"sentinels={_ports.Count}", StringComparison.Ordinal));

    public void Dispose()
    {
        foreach (var process in _processes)
        {
            process.KillAsync().GetAwaiter().GetResult();
            process.Dispose();
        }

        _folder.Delete(recursive: true);
    }

    private static string Ask(int port)
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", port) { ReceiveTimeout = 2000 };
            client.Client.Send("*2\r\n$4\r\nINFO\r\n$8\r\nsentinel\r\n"u8);
            var buffer = new byte[4096];
            return Encoding.ASCII.GetString(buffer, 0, client.Client.Receive(buffer));
        }
        catch (SocketException)
        {
            return ""; // it is still starting
        }
    }
}
