using System.Globalization;

namespace KvCache.Notebook;

/// <summary>A Redis for a part of the notebook, without persistence, on a free port. Disposing ends it.</summary>
public sealed class NotebookRedis : IDisposable
{
    private readonly RedisChild _redis;

    private NotebookRedis(RedisChild redis) => _redis = redis;

    /// <summary>Its address, <c>host:port</c>.</summary>
    public string Configuration => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{_redis.Tcp.Port}");

    /// <summary>Starts a Redis.</summary>
    /// <param name="settings">More of its command line, for example <c>--maxmemory</c>.</param>
    /// <returns>Null, with a line that says so, where none is installed.</returns>
    public static NotebookRedis? TryStart(params string[] settings)
    {
        if (ProgramCommand.Find("redis-server") is { } program)
            return new NotebookRedis(RedisChild.Start(program, settings));
        Console.WriteLine("SKIPPED: there is no redis-server on PATH (on Debian: apt-get install redis-server).");
        return null;
    }

    /// <summary>Ends it as a crash does.</summary>
    public void Kill() => _redis.Kill();

    /// <inheritdoc/>
    public void Dispose() => _redis.Dispose();
}
