using System.Net;
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

namespace KvCache.Silo.LmCache;

/// <summary>The <c>lm://</c> endpoint: what its connections share. Off unless <see cref="LmCacheOptions.Listen"/> is set.</summary>
internal sealed partial class LmCacheServer : IHostedService, IDisposable
{
    private readonly ConnectionListener _listener;
    private readonly ILogger<LmCacheServer> _logger;

    public LmCacheServer(
        ValueBlocks values, TenantQuotas quotas, SiloCounters counters, SiloTls tls, IOptions<LmCacheOptions> options,
        ILoggerFactory loggers)
    {
        Values = values;
        Tls = tls.For(TlsPorts.LmCache);
        Counters = counters;
        Options = options.Value;
        Terms = new BlockTerms(
            Options.TimeToLive > TimeSpan.Zero
            ? Options.TimeToLive
            : null, new BlockDurability(Options.Copies, Options.Persist), Replace: true);
        Namespace = NamespaceOf(Options.Tenant);
        _logger = loggers.CreateLogger<LmCacheServer>();
        var sessionLogger = loggers.CreateLogger<LmCacheSession>();
        _listener = new ConnectionListener(
            "The lm:// endpoint",
            LmCacheOptions.Section,
            Options,
            counters,
            tls.For(TlsPorts.LmCache),
            (channel, peer) => new LmCacheSession(this, channel, peer, sessionLogger),
            quotas,
            reserved: 0,
            _logger);
    }

    public ValueBlocks Values { get; }

    /// <summary>What the port shows; null for a plain one.</summary>
    public TlsServer? Tls { get; }

    public SiloCounters Counters { get; }

    public LmCacheOptions Options { get; }

    /// <summary>What becomes of a value.</summary>
    public BlockTerms Terms { get; }

    /// <summary>Namespace of the values of clients without a certificate of a tenant.</summary>
    public NamespaceId Namespace { get; }

    /// <summary>Where it listens; null when it is off.</summary>
    public IPEndPoint? Address { get; private set; }

    /// <summary>Namespace of a tenant's values.</summary>
    public NamespaceId NamespaceOf(string tenant) =>
        new CacheNamespace { Tenant = tenant, Model = Options.Model, Layout = ValueBlocks.NamespaceLayout }.Id;

    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (Options.Listen.Length == 0)
            return Task.CompletedTask;
        Address = _listener.ListenTcp(Options.Listen);
        _listener.Start();
        LogListening(Address, Options.Tenant);
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) =>
        Address is null ? Task.CompletedTask : _listener.StopAsync(cancellationToken);

    public void Dispose() => _listener.Dispose();

    [LoggerMessage(Level = LogLevel.Information, Message = "The lm:// endpoint listens on {Address} for tenant {Tenant}")]
    private partial void LogListening(IPEndPoint address, string tenant);
}
