using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.RedisTests.Infrastructure;

/// <summary>A real Redis on a free loopback port and a Unix socket, in a folder of its own, without persistence.</summary>
internal sealed partial class RedisProcess : IDisposable
{
    private const int SigKill = 9;
    private const int SigStop = 19;
    private const int SigContinue = 18;

    private readonly string _program;
    private readonly string[] _settings;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-redis-");
    private Process _keeper;
    private int _redis;

    private RedisProcess(string program, string[] settings)
    {
        _program = program;
        _settings = settings;
        using (var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            Port = ((IPEndPoint)socket.LocalEndPoint!).Port;
        }

        _keeper = Launch();
    }

    public int Port { get; }

    public string Tcp => $"127.0.0.1:{Port}";

    public string Unix => $"unix:{_folder.FullName}/redis.sock";

    /// <summary>Starts a Redis, or skips the test where none is installed.</summary>
    /// <param name="settings">More command line, for example <c>--maxmemory</c>.</param>
    public static RedisProcess Start(params string[] settings)
    {
        var program = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, "redis-server")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(program is null, "There is no redis-server on PATH.");
        return new RedisProcess(program, settings);
    }

    /// <summary>A connection beside the tier's.</summary>
    public RedisConnection Connect()
    {
        Assert.True(RedisEndpoint.TryParse(Tcp, out var endpoint, out _));
        return RedisConnection.Connect(endpoint, 0, Deadline.After(TimeSpan.FromSeconds(10)));
    }

    /// <summary>Sends a command of one's own and returns the first line of the reply.</summary>
    public string Command(params string[] words)
    {
        using var client = new TcpClient("127.0.0.1", Port);
        using var reader = new StreamReader(client.GetStream());
        client.Client.Send(System.Text.Encoding.ASCII.GetBytes(string.Concat([$"*{words.Length}\r\n", .. words.Select(word => $"${word.Length}\r\n{word}\r\n")])));
        return reader.ReadLine()!;
    }

    /// <summary>Ends it as a crash does.</summary>
    public void Kill()
    {
        Signal(SigKill);
        End();
    }

    /// <summary>Starts it again, empty, on the same port.</summary>
    public void Restart() => _keeper = Launch();

    public void Freeze() => Signal(SigStop);

    public void Thaw() => Signal(SigContinue);

    public void Dispose()
    {
        End();
        _folder.Delete(recursive: true);
    }

    // Closing its input ends the keeper, which ends Redis first.
    private void End()
    {
        if (_redis == 0)
            return;
        _redis = 0;
        _keeper.StandardInput.Close();
        _keeper.WaitForExit();
        _keeper.Dispose();
    }

    private Process Launch()
    {
        string[] arguments =
        [
            "--bind", "127.0.0.1", "--port", Port.ToString(CultureInfo.InvariantCulture), "--unixsocket", $"{_folder.FullName}/redis.sock",
            "--dir", _folder.FullName, "--save", "", "--appendonly", "no", "--logfile", $"{_folder.FullName}/redis.log", .. _settings,
        ];
        // A shell holds Redis as long as our end of a pipe is open: it ends with us, even when we are killed.
        const string Keep = """ "$@" </dev/null >/dev/null & echo $!; cat; kill -9 $! 2>/dev/null; wait """;
        var keeper = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", Keep, "sh", _program, .. arguments]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        _redis = int.Parse(keeper.StandardOutput.ReadLine()!, CultureInfo.InvariantCulture);
        var began = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                using var client = new TcpClient("127.0.0.1", Port);
                return keeper;
            }
            catch (SocketException) when (Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(30))
            {
                Thread.Sleep(10);
            }
        }
    }

    private void Signal(int signal) => Assert.Equal(0, SendSignal(_redis, signal));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int process, int signal);
}
