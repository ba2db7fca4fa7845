using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KvCache.Bench.Processes;

namespace KvCache.Bench.Redis;

/// <summary>A Redis of our own: loopback only, no persistence, tuned not to give memory back between two values.</summary>
internal sealed class RedisServerProcess : IDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(10);
    private readonly DirectoryInfo _folder;
    private readonly ChildProcess _process;

    private RedisServerProcess(string program)
    {
        _folder = Directory.CreateTempSubdirectory("kvcache-redis-");
        var port = LoopbackPort.FindFree();
        var socket = Path.Combine(_folder.FullName, "redis.sock");
        Tcp = new IPEndPoint(IPAddress.Loopback, port);
        Unix = new UnixDomainSocketEndPoint(socket);
        string[] arguments =
        [
            "--bind", "127.0.0.1", "--port", port.ToString(CultureInfo.InvariantCulture), "--unixsocket", socket,
            "--dir", _folder.FullName, "--save", "", "--appendonly", "no", "--logfile", Path.Combine(_folder.FullName, "redis.log"),
        ];
        // Otherwise jemalloc returns each freed value to the kernel, and every SET pays for fresh pages.
        _process = ChildProcess.Supervised(program, arguments, ("MALLOC_CONF", "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1"));
        try
        {
            WaitUntilItListens();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public EndPoint Tcp { get; }

    public EndPoint Unix { get; }

    public static RedisServerProcess Start(string program) => new(program);

    public void Dispose()
    {
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    private void WaitUntilItListens()
    {
        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                using var client = RespClient.Connect(Tcp, default);
                return;
            }
            catch (SocketException e)
            {
                if (_process.HasExited || Stopwatch.GetElapsedTime(start) > StartLimit)
                    throw new InvalidOperationException($"redis-server did not listen on {Tcp}; give a running one with --redis HOST:PORT.", e);
                Thread.Sleep(20);
            }
        }
    }
}
