using System.Net;
using KvCache.Bench.Raw;
using KvCache.Processes;

namespace KvCache.Bench.Redis;

/// <summary>The Redis that a scenario compares with: a running one, or else one of its own, where redis-server is installed.</summary>
internal sealed class ComparedRedis : IDisposable
{
    /// <summary>Why <see cref="TryOpen"/> gave none.</summary>
    public const string Missing = "no --redis given and no redis-server on PATH.";

    private readonly RedisChild? _own;

    private ComparedRedis(EndPoint tcp, RedisChild? own)
    {
        Tcp = tcp;
        _own = own;
        Ways = own is null ? [(RawTransport.Tcp, tcp)] : [(RawTransport.Tcp, tcp), (RawTransport.Unix, own.Unix)];
    }

    public EndPoint Tcp { get; }

    /// <summary>
    /// TCP, and a Unix socket where the Redis is our own: immune to the congestion control of the host, which is the one setting of Redis'
    /// own end that nobody can tune.
    /// </summary>
    public IReadOnlyList<(RawTransport Transport, EndPoint Address)> Ways { get; }

    /// <param name="running">A running Redis, or null to start one.</param>
    public static ComparedRedis? TryOpen(EndPoint? running)
    {
        if (running is not null)
            return new ComparedRedis(running, own: null);
        if (ProgramCommand.Find("redis-server") is not { } program)
            return null;
        var own = Start(program);
        return new ComparedRedis(own.Tcp, own);
    }

    /// <summary>Starts a Redis of our own, tuned not to give memory back between two values.</summary>
    public static RedisChild Start(string program, params string[] settings) =>
        // Otherwise jemalloc returns each freed value to the kernel, and every SET pays for fresh pages.
        RedisChild.Start(program, settings, ("MALLOC_CONF", "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1"));

    public void Dispose() => _own?.Dispose();
}
