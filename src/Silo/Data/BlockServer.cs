using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.Silo.Accounts;
using KvCache.Silo.Cluster;
using KvCache.Silo.Connections;
using KvCache.Silo.Hosting;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Values;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Data;

/// <summary>The data plane of a silo: what its connections share. Listens on TCP and on a Unix socket.</summary>
internal sealed partial class BlockServer : IHostedService, IDataPlaneAddresses, IDisposable
{
    private const int GrainCallsAtOnce = 64;
    private const int PlacesOfPeers = 16;

    private readonly ILogger<BlockServer> _logger;
    private readonly DamageCheck _damage;
    private readonly ConnectionListener _listener;
    private readonly ILocalSiloDetails _silo;
    private string[] _endpoints = [];

    public BlockServer(
        BlockStore store,
        ClusterView cluster,
        BlockWriter writer,
        BlockFetcher fetcher,
        ValueBlocks values,
        IGrainFactory grains,
        TenantRegistry tenants,
        TenantQuotas quotas,
        AuditLog audit,
        SiloCounters counters,
        DamageCheck damage,
        SiloTls tls,
        ILocalSiloDetails silo,
        IOptions<DataPlaneOptions> options,
        IOptions<ArenaOptions> arena,
        IOptions<ClusterOptions> clustering,
        ILoggerFactory loggers)
    {
        Store = store;
        _damage = damage;
        Tls = tls.For(TlsPorts.DataPlane);
        Cluster = cluster;
        Writer = writer;
        Fetcher = fetcher;
        Values = values;
        Grains = grains;
        Tenants = tenants;
        Quotas = quotas;
        Audit = audit;
        Counters = counters;
        Options = options.Value;
        ArenaPath = arena.Value.Path;
        Mapped = new MappedLeases((long)(Options.MaxMappedShare * store.Arena.Capacity));
        if (Options.SharedMemory && ArenaPath.Length == 0)
            throw new IOException(
                $"{DataPlaneOptions.Section}:SharedMemory is on, and {ArenaOptions.Section}:Path is empty; the arena needs a file to be "
                + "mapped.");
        _silo = silo;
        _logger = loggers.CreateLogger<BlockServer>();
        var sessionLogger = loggers.CreateLogger<Session>();
        _listener = new ConnectionListener(
            "The data plane",
            DataPlaneOptions.Section,
            Options,
            counters,
            Tls,
            (channel, peer) => new Session(this, channel, peer, sessionLogger),
            quotas,
            clustering.Value.Mode == ClusterMode.None ? 0 : Math.Min(PlacesOfPeers, Options.MaxConnections / 8),
            _logger);
    }

    public BlockStore Store { get; }

    public ClusterView Cluster { get; }

    public BlockWriter Writer { get; }

    public BlockFetcher Fetcher { get; }

    public ValueBlocks Values { get; }

    public IGrainFactory Grains { get; }

    public TenantRegistry Tenants { get; }

    /// <summary>What the TCP port shows; null for a plain one.</summary>
    public TlsServer? Tls { get; }

    public TenantQuotas Quotas { get; }

    public AuditLog Audit { get; }

    public SiloCounters Counters { get; }

    public DataPlaneOptions Options { get; }

    /// <summary>Leases of processes that read in the arena.</summary>
    public MappedLeases Mapped { get; }

    /// <summary>What matches hold.</summary>
    public Holds Holds { get; } = new();

    /// <summary>File of the arena, or empty.</summary>
    public string ArenaPath { get; }

    /// <summary>Random id of this arena: another silo's, or a later one's, has another.</summary>
    public ulong ArenaId { get; } = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));

    /// <inheritdoc/>
    public string[] Endpoints => _endpoints;

    /// <summary>Addresses that mean the same on every machine.</summary>
    public string[] EndpointsForOthers { get; private set; } = [];

    /// <summary>Port of the TCP listener, or 0.</summary>
    public int TcpPort { get; private set; }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var endpoints = new List<string>();
        if (Options.Unix.Length > 0)
        {
            _listener.ListenUnix(Options.Unix, Options.UnixMode, Options.UnixGroup);
            endpoints.Add($"unix:{Options.Unix}");
        }

        if (Options.Tcp.Length > 0)
        {
            var address = _listener.ListenTcp(Options.Tcp);
            TcpPort = address.Port;
            var reachable = address.Address.Equals(IPAddress.Any) || address.Address.Equals(IPAddress.IPv6Any)
                ? _silo.SiloAddress.Endpoint.Address
                : address.Address;
            var tcp = $"{(Tls is null ? "tcp:" : SiloEndpoint.TlsScheme)}{(Options.Advertised.Length > 0 ? Options.Advertised : new IPEndPoint(reachable, TcpPort).ToString())}";
            endpoints.Add(tcp);
            EndpointsForOthers = [tcp];
        }

        _endpoints = [.. endpoints];
        if (EndpointsForOthers.Length == 0)
            EndpointsForOthers = _endpoints; // a Unix socket alone: only silos of this machine reach it
        _listener.Start(() =>
        {
            _ = Store.Sweep(); // what is left over comes next time
            Mapped.Sweep();
        });
        LogListening(string.Join(", ", _endpoints));
        return Task.CompletedTask;
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _listener.StopAsync(cancellationToken);
            Mapped.Clear();
        }
        finally
        {
            // Orleans tells the others behind this, and they confirm deletions from then on without asking here.
            Store.Term.EndForGood();
        }
    }

    public void Dispose() => _listener.Dispose();

    /// <summary>Calls the grains of those blocks that somebody has, a bounded number at a time. Each answers for itself: a silo that has
    /// just died costs the blocks whose grains it had, and no others.</summary>
    public ItemOutcome[] ForEachGrain(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, Func<IPrefixGrain, ValueTask<bool>> call)
    {
        var outcomes = new List<ItemOutcome>(hashes.Length);
        var calls = new List<Task<ItemOutcome>>(Math.Min(hashes.Length, GrainCallsAtOnce));
        for (var i = 0; i < hashes.Length; i++)
        {
            calls.Add(CallGrainAsync(new BlockKey(ns, hashes[i]), call));
            if (calls.Count < GrainCallsAtOnce && i + 1 < hashes.Length)
                continue;
            outcomes.AddRange(Task.WhenAll(calls).GetAwaiter().GetResult());
            calls.Clear();
        }

        return [.. outcomes];
    }

    /// <summary>Calls the grain of a block that somebody has.</summary>
    public async Task<ItemOutcome> CallGrainAsync(BlockKey key, Func<IPrefixGrain, ValueTask<bool>> call)
    {
        try
        {
            return await Cluster.MayHaveAsync(key) && await call(Grains.GetPrefix(key)) ? ItemOutcome.Done : ItemOutcome.Nothing;
        }
        catch (Exception e)
        {
            LogUnanswered(key.Namespace, key.Hash.ToShortString(), e.Message);
            return ItemOutcome.Unconfirmed;
        }
    }

    /// <summary>Checks a block that a reader found damaged, and drops it when its memory is.</summary>
    public bool DropIfCorrupt(BlockKey key, ulong generation)
    {
        using var lease = Store.TryHold(key);
        return lease is not null && lease.Generation == generation && DropIfDamaged(lease, lease.Layout.AllLayers);
    }

    /// <summary>Whether layers of a block are damaged in memory. Then it is dropped, and a miss is counted.</summary>
    public bool DropIfDamaged(BlockLease lease, LayerRange layers)
    {
        if (!_damage.DropIfDamaged(lease, layers))
            return false;
        Counters.MissCorrupt();
        return true;
    }

    /// <summary>What a tenant is shown: its own figures; where there are no tenants, all of the silo's beside them.</summary>
    public byte[] StatisticsJson(TenantAccount account)
    {
        var own = Store.GetStatistics(account);
        return Tenants.HasSecrets
            ? JsonSerializer.SerializeToUtf8Bytes(own, StatisticsJsonContext.Default.TenantStatistics)
            : JsonSerializer.SerializeToUtf8Bytes(
                new SingleTenantStatistics(own, SiloStatistics.Create(Store, Counters)),
                StatisticsJsonContext.Default.SingleTenantStatistics);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The data plane listens on {Endpoints}")]
    private partial void LogListening(string endpoints);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The grain of block {Namespace}/{Hash} did not answer: {Reason}")]
    private partial void LogUnanswered(NamespaceId @namespace, string hash, string reason);
}
