using System.Net.Sockets;
using System.Text;
using KvCache.Processes;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Testing;

/// <summary>A real Redis of a test.</summary>
internal sealed class RedisProcess : IDisposable
{
    private readonly RedisChild _redis;

    private RedisProcess(RedisChild redis) => _redis = redis;

    public int Port => _redis.Tcp.Port;

    public string Tcp => $"127.0.0.1:{Port}";

    public string Unix => $"unix:{_redis.UnixPath}";

    /// <summary>Starts a Redis, or skips the test where none is installed.</summary>
    /// <param name="settings">More command line, for example <c>--maxmemory</c>.</param>
    public static RedisProcess Start(params string[] settings)
    {
        var program = ProgramCommand.Find("redis-server");
        Assert.SkipWhen(program is null, "There is no redis-server on PATH.");
        return new RedisProcess(RedisChild.Start(program, settings));
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
        string[] parts = [$"*{words.Length}\r\n", .. words.Select(word => $"${word.Length}\r\n{word}\r\n")];
        client.Client.Send(Encoding.ASCII.GetBytes(string.Concat(parts)));
        return reader.ReadLine()!;
    }

    /// <summary>What <c>CLUSTER INFO</c> says.</summary>
    public string ClusterInfo()
    {
        using var client = new TcpClient("127.0.0.1", Port);
        client.Client.Send(Encoding.ASCII.GetBytes("CLUSTER INFO\r\nQUIT\r\n"));
        using var reader = new StreamReader(client.GetStream());
        return reader.ReadToEnd();
    }

    /// <summary>Ends it as a crash does.</summary>
    public void Kill() => _redis.Kill();

    /// <summary>Starts it again, empty, on the same port.</summary>
    public void Restart() => _redis.Restart();

    public void Freeze() => _redis.Process.Pause();

    public void Thaw() => _redis.Process.Resume();

    public void Dispose() => _redis.Dispose();
}
