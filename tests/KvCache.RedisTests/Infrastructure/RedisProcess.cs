using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using KvCache.Silo;

namespace KvCache.RedisTests;

/// <summary>A real Redis on a free loopback port and a Unix socket, in a folder of its own, without persistence.</summary>
internal sealed partial class RedisProcess : IDisposable
{
    private const int SigStop = 19;
    private const int SigContinue = 18;

    private readonly string _program;
    private readonly string[] _settings;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-redis-");
    private Process _process;

    private RedisProcess(string program, string[] settings)
    {
        _program = program;
        _settings = settings;
        using (var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            Port = ((IPEndPoint)socket.LocalEndPoint!).Port;
        }

        _process = Launch();
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
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Starts it again, empty, on the same port.</summary>
    public void Restart()
    {
        _process.Dispose();
        _process = Launch();
    }

    public void Freeze() => Signal(SigStop);

    public void Thaw() => Signal(SigContinue);

    public void Dispose()
    {
        if (!_process.HasExited)
            Kill();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    private Process Launch()
    {
        string[] arguments =
        [
            "--bind", "127.0.0.1", "--port", Port.ToString(CultureInfo.InvariantCulture), "--unixsocket", $"{_folder.FullName}/redis.sock",
            "--dir", _folder.FullName, "--save", "", "--appendonly", "no", "--logfile", $"{_folder.FullName}/redis.log", .. _settings,
        ];
        var process = Process.Start(new ProcessStartInfo(_program, arguments) { UseShellExecute = false })!;
        var began = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                using var client = new TcpClient("127.0.0.1", Port);
                return process;
            }
            catch (SocketException) when (!process.HasExited && Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(30))
            {
                Thread.Sleep(10);
            }
        }
    }

    private void Signal(int signal) => Assert.Equal(0, SendSignal(_process.Id, signal));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int process, int signal);
}
