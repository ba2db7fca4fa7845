using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KvCache.Processes;

/// <summary>
/// A real Redis on a free loopback port and a Unix socket, in a folder of its own, without persistence. Disposing kills it.
/// </summary>
internal sealed class RedisChild : IDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(30);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-redis-");
    private readonly string _program;
    private readonly string[] _settings;
    private readonly (string Name, string Value)[] _environment;

    private RedisChild(string program, string[] settings, (string Name, string Value)[] environment)
    {
        (_program, _settings, _environment) = (program, settings, environment);
        try
        {
            Process = Launch();
        }
        catch
        {
            _folder.Delete(recursive: true);
            throw;
        }
    }

    /// <summary>Where it listens.</summary>
    public IPEndPoint Tcp { get; } = new(IPAddress.Loopback, LoopbackPort.FindFree());

    /// <summary>Where it listens, too.</summary>
    public UnixDomainSocketEndPoint Unix => new(UnixPath);

    /// <summary>Path of its Unix socket.</summary>
    public string UnixPath => Path.Combine(_folder.FullName, "redis.sock");

    /// <summary>The process.</summary>
    public ChildProcess Process { get; private set; }

    /// <summary>Starts a Redis and waits until it serves.</summary>
    /// <param name="program">Path of redis-server.</param>
    /// <param name="settings">More command line, for example <c>--maxmemory</c>.</param>
    /// <param name="environment">Variables besides the inherited ones.</param>
    /// <exception cref="ChildProcessException">It does not start.</exception>
    public static RedisChild Start(string program, string[] settings, params (string Name, string Value)[] environment) =>
        new(program, settings, environment);

    /// <summary>Ends it as a crash does.</summary>
    public void Kill() => Process.KillAsync().GetAwaiter().GetResult();

    /// <summary>Starts it again after <see cref="Kill"/>, empty, on the same port.</summary>
    public void Restart()
    {
        Process.Dispose();
        Process = Launch();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kill();
        Process.Dispose();
        _folder.Delete(recursive: true);
    }

    private ChildProcess Launch()
    {
        string[] arguments =
        [
            "--bind", "127.0.0.1", "--port", Tcp.Port.ToString(CultureInfo.InvariantCulture), "--unixsocket", UnixPath,
            "--dir", _folder.FullName, "--save", "", "--appendonly", "no", .. _settings,
        ];
        var process = ChildProcess.Start(ProgramCommand.Of(_program, arguments, _environment));
        try
        {
            // It listens at the port first, and at the socket a moment later.
            process.WaitUntilReadyAsync(
                () => LoopbackPort.IsReached(Tcp) && LoopbackPort.IsReached(Unix) ? Tcp : null, StartLimit).GetAwaiter().GetResult();
            return process;
        }
        catch
        {
            process.Dispose();
            throw;
        }
    }
}
