using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Accounts;
using KvCache.Silo.Connections;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Values;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Resp;

/// <summary>The Redis endpoint: what its connections share. Off unless <see cref="RespOptions.Listen"/> is set.</summary>
internal sealed partial class RespServer : IHostedService, IDisposable
{
    private readonly ConnectionListener _listener;
    private readonly ILogger<RespServer> _logger;
    private long _lastClient;

    public RespServer(
        ValueBlocks values, RespTenants tenants, TenantQuotas quotas, AuditLog audit, SiloCounters counters, SiloTls tls,
        IOptions<RespOptions> options, TimeProvider time, ILoggerFactory loggers)
    {
        Values = values;
        Tls = tls.For(TlsPorts.Resp);
        Tenants = tenants;
        Audit = audit;
        Counters = counters;
        Options = options.Value;
        Time = time;
        Started = time.GetUtcNow();
        Terms = new BlockTerms(
            Options.TimeToLive > TimeSpan.Zero ? Options.TimeToLive : null,
            new BlockDurability(Options.Copies, Options.Persist),
            Replace: true);
        _logger = loggers.CreateLogger<RespServer>();
        var sessionLogger = loggers.CreateLogger<RespSession>();
        _listener = new ConnectionListener(
            "The Redis endpoint",
            RespOptions.Section,
            Options,
            counters,
            tls.For(TlsPorts.Resp),
            (channel, peer) => new RespSession(this, channel, peer, sessionLogger),
            quotas,
            reserved: 0,
            _logger);
    }

    public ValueBlocks Values { get; }

    /// <summary>What the port shows; null for a plain one.</summary>
    public TlsServer? Tls { get; }

    public RespTenants Tenants { get; }

    public AuditLog Audit { get; }

    public SiloCounters Counters { get; }

    public RespOptions Options { get; }

    public TimeProvider Time { get; }

    public DateTimeOffset Started { get; }

    /// <summary>What becomes of a value whose SET says nothing about it.</summary>
    public BlockTerms Terms { get; }

    /// <summary>Where it listens; null when it is off.</summary>
    public IPEndPoint? Address { get; private set; }

    /// <summary>Connections of a tenant.</summary>
    public int ConnectionsOf(string tenant) => _listener.CountOf(tenant);

    /// <summary>Connections that are open, by their numbers.</summary>
    public ConcurrentDictionary<long, RespSession> Sessions { get; } = new();

    /// <summary>Scripts that clients have named or sent, by their SHA-1.</summary>
    public KnownScripts Scripts { get; } = new();

    /// <summary>Gives a connection its number.</summary>
    public long Joined(RespSession session)
    {
        var id = Interlocked.Increment(ref _lastClient);
        Sessions[id] = session;
        return id;
    }

    /// <summary>A connection has ended.</summary>
    public void Left(long id) => Sessions.TryRemove(id, out _);

    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (Options.Listen.Length == 0)
            return Task.CompletedTask;
        Address = _listener.ListenTcp(Options.Listen);
        _listener.Start();
        LogListening(Address);
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) =>
        Address is null ? Task.CompletedTask : _listener.StopAsync(cancellationToken);

    public void Dispose() => _listener.Dispose();

    [LoggerMessage(Level = LogLevel.Information, Message = "The Redis endpoint listens on {Address}")]
    private partial void LogListening(IPEndPoint address);
}
