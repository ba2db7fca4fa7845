using System.Collections.Concurrent;
using KvCache.Silo.Data;
using KvCache.Silo.Hosting;
using KvCache.Silo.LmCache;
using KvCache.Silo.Resp;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace KvCache.Chaos.Fuzz;

/// <summary>A silo in this very process, whose sessions are fed without a network between.</summary>
internal sealed class InnerSilo : IAsyncDisposable
{
    /// <summary>The secret of silos among themselves, with which a session may be a peer's.</summary>
    public const string ClusterSecret = "the secret of a silo that is fuzzed";

    private readonly WebApplication _app;

    private InnerSilo(WebApplication app) => _app = app;

    public BlockServer Blocks => _app.Services.GetRequiredService<BlockServer>();

    public RespServer Resp => _app.Services.GetRequiredService<RespServer>();

    public LmCacheServer LmCache => _app.Services.GetRequiredService<LmCacheServer>();

    /// <summary>What sessions log of failures of their own.</summary>
    public FailureLog Failures { get; } = new();

    public static async Task<InnerSilo> StartAsync()
    {
        var settings = new Dictionary<string, string?>
        {
            ["KvCache:Arena:Size"] = "64MiB",
            ["KvCache:DataPlane:Tcp"] = "127.0.0.1:0",
            ["KvCache:Resp:Listen"] = "127.0.0.1:0",
            ["KvCache:Resp:AllowFlush"] = "true",
            ["KvCache:LmCache:Listen"] = "127.0.0.1:0",
            ["KvCache:Cluster:Mode"] = "Localhost", // a silo alone takes no secret of others
            ["KvCache:Cluster:Secret"] = ClusterSecret,
            ["KvCache:DataPlane:FollowPatience"] = "1ms",
            ["Logging:LogLevel:Default"] = "None",
        };
        var app = SiloProgram.Build(settings, null, new StartTerms("http://127.0.0.1:0", SiloPorts.Resolve(0, SiloPorts.NoGateway), null,
            false));
        await app.StartAsync().ConfigureAwait(false);
        return new InnerSilo(app);
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync().ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
    }
}

/// <summary>Keeps exceptions that were logged as errors: a session that fails by itself, and not by its peer, does that.</summary>
internal sealed class FailureLog : ILogger
{
    private readonly ConcurrentQueue<Exception> _failures = new();

    /// <summary>Takes one of them.</summary>
    public Exception? Take() => _failures.TryDequeue(out var exception) ? exception : null;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
            _failures.Enqueue(exception ?? new InvalidOperationException(formatter(state, exception)));
    }
}
