using KvCache.Engine.Index;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Grains;
using KvCache.Grains.Cluster;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Accounts;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Events;
using KvCache.Silo.LmCache;
using KvCache.Silo.Options;
using KvCache.Silo.Resp;
using KvCache.Silo.Security;
using KvCache.Silo.Supervision;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;
using KvCache.Silo.Values;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Hosting;
using ClusterOptions = KvCache.Silo.Options.ClusterOptions;

namespace KvCache.Silo.Hosting;

/// <summary>Registration of KvCache in an Orleans silo.</summary>
internal static class KvCacheServices
{
    /// <summary>
    /// Adds the block store, the data plane and their options to a silo. The grain storage named
    /// <see cref="PrefixDescriptor.StorageName"/> is the caller's to choose.
    /// </summary>
    /// <param name="silo">The silo.</param>
    /// <param name="configuration">Configuration with the section <c>KvCache</c>.</param>
    public static ISiloBuilder AddKvCache(this ISiloBuilder silo, IConfiguration configuration)
    {
        var services = silo.Services;
        services.AddOptions<ArenaOptions>().Bind(configuration.GetSection(ArenaOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<BlockStoreOptions>().Bind(configuration.GetSection("KvCache:Store")).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<DataPlaneOptions>().Bind(configuration.GetSection(DataPlaneOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<PrefixGrainOptions>().Bind(configuration.GetSection("KvCache:Prefixes")).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<ClusterOptions>().Bind(configuration.GetSection(ClusterOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<EventOptions>().Bind(configuration.GetSection(EventOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<TenantOptions>().Configure(options => configuration.GetSection(TenantOptions.Section).Bind(options.Tenants))
            .ValidateOnStart();
        services.AddOptions<AccountOptions>().Bind(configuration.GetSection(AccountOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<RespOptions>().Bind(configuration.GetSection(RespOptions.Section)).ValidateDataAnnotations().ValidateOnStart();
        services.AddOptions<LmCacheOptions>().Bind(configuration.GetSection(LmCacheOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<TlsOptions>().Bind(configuration.GetSection(TlsOptions.Section)).ValidateDataAnnotations().ValidateOnStart();
        services.AddOptions<ReloadOptions>().Bind(configuration.GetSection(ReloadOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddOptions<RecordingOptions>().Bind(configuration.GetSection(RecordingOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddSingleton<IValidateOptions<TlsOptions>, TlsOptionsValidator>();
        services.AddSingleton<IValidateOptions<RespOptions>, RespOptionsValidator>();
        services.AddSingleton<IValidateOptions<EventOptions>, EventOptionsValidator>();
        services.AddSingleton<IValidateOptions<LmCacheOptions>, LmCacheOptionsValidator>();
        services.AddSingleton<IValidateOptions<TenantOptions>, TenantOptionsValidator>();

        // Idle activations of prefixes go after a minute (see PrefixGrain), so the collector must look more often than that.
        services.Configure<GrainCollectionOptions>(options => options.CollectionQuantum = TimeSpan.FromSeconds(15));
        services.TryAddSingleton(TimeProvider.System);
        AddTls(silo, configuration);
        services.AddSingleton<LeftFiles>();
        services.AddSingleton(CreateDirectory);
        services.AddSingleton(CreateStore);
        services.AddPrefixGrains();
        services.AddRedisTier(configuration);
        services.AddDiskTier(configuration);
        services.AddSingleton<RedisBlocks>();
        AddLoop<RedisScan>(services);
        services.AddSingleton<ClusterMembers>();
        services.AddSingleton<ClusterCounters>();
        services.AddSingleton<ISiloAgents, SiloAgents>();
        silo.AddGrainService<SiloAgent>();
        services.TryAddSingleton<RecentLives>();
        services.AddSingleton<BlockFetcher>();
        services.AddSingleton<IClusterBlocks, ClusterBlocks>();
        AddLoop<NamespaceClears>(services);
        services.AddSingleton<ClusterView>();
        services.AddSingleton<BlockWriter>();
        AddLoop<Replicator>(services);
        services.AddSingleton<HandOver>();
        AddLoop<RemoteReads>(services);
        AddLoop<ClusterWatch>(services);
        AddLoop<CutOffWatch>(services);
        services.AddSingleton<LoopHealth>();
        services.AddSingleton<SiloCounters>();
        services.AddSingleton<TenantRegistry>();
        services.AddSingleton<OperatorTokens>();
        services.AddSingleton(provider => new TenantAccounts(time: provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton<TenantQuotas>();
        services.AddSingleton<WrongProofs>();
        services.AddSingleton<AuditLog>();
        services.AddSingleton<TenantDirectory>();
        AddHosted<TenantChanges>(services);
        AddHosted<ArenaCommitter>(services);
        AddHosted<BlockServer>(services);
        services.AddSingleton<EventCounters>();
        services.AddSingleton<EventAccess>();
        AddHosted<KvEventPublisher>(services);
        AddLoop<EngineEvents>(services);
        services.AddSingleton<ValueBlocks>();
        services.AddSingleton<RespTenants>();
        AddHosted<RespServer>(services);
        AddHosted<LmCacheServer>(services);
        services.AddSingleton<IDataPlaneAddresses>(provider => provider.GetRequiredService<BlockServer>());
        silo.AddOrleansDoors(configuration);
        return silo;
    }

    // Read now: a certificate that cannot be used is told before anything is started.
    private static void AddTls(ISiloBuilder silo, IConfiguration configuration)
    {
        var tls = SiloTls.Create(configuration);
        silo.AddOrleansPlaces();
        silo.UseSiloTls(tls);
        silo.Services.AddSingleton(tls).AddSingleton(tls.Peers).AddSingleton<ILiveFiles>(tls);
        silo.Services.AddSingleton<ILiveFiles>(provider => provider.GetRequiredService<TenantRegistry>());
        silo.Services.AddSingleton<ILiveFiles>(provider => provider.GetRequiredService<ClusterSecrets>());
        silo.Services.AddSingleton<ILiveFiles>(provider => provider.GetRequiredService<OperatorTokens>());
        AddLoop<FileReloader>(silo.Services);
    }

    private static void AddLoop<T>(IServiceCollection services)
        where T : class, ILoop
    {
        services.AddSingleton<T>();
        services.AddSingleton<IHostedService>(
            provider => new LoopHost(provider.GetRequiredService<T>(), provider.GetRequiredService<LoopHealth>()));
    }

    private static void AddHosted<T>(IServiceCollection services)
        where T : class, IHostedService
    {
        services.AddSingleton<T>();
        services.AddHostedService(provider => provider.GetRequiredService<T>());
    }

    private static BlockDirectory CreateDirectory(IServiceProvider services)
    {
        var time = services.GetRequiredService<TimeProvider>();
        var cluster = services.GetRequiredService<IOptions<ClusterOptions>>().Value;
        var accounts = services.GetRequiredService<TenantAccounts>();
        var index = new PrefixIndex(new PrefixIndexOptions
        {
            MaxEntries = cluster.MaxIndexEntries,
            MaxRedisEntries = cluster.MaxRedisIndexEntries,
            PartOf = tenant => accounts.Of(tenant).Limits.Part,
        });
        return new BlockDirectory(index, new IndexLog(time: time), new Tombstones(time: time));
    }

    private static BlockStore CreateStore(IServiceProvider services)
    {
        var arena = services.GetRequiredService<IOptions<ArenaOptions>>().Value;
        var directory = services.GetRequiredService<BlockDirectory>();
        var store = new BlockStore(
            arena.Path.Length > 0
                ? Arena.CreateShared(arena.Path, arena.Size.Bytes, arena.HugePages)
                : Arena.CreatePrivate(arena.Size.Bytes, arena.HugePages),
            services.GetRequiredService<IOptions<BlockStoreOptions>>().Value,
            services.GetRequiredService<TimeProvider>(),
            directory,
            accounts: services.GetRequiredService<TenantAccounts>());
        if (arena.Path.Length > 0)
        {
            services.GetRequiredService<LeftFiles>().Add(arena.Path);
            services.GetRequiredService<LeftFiles>().Add(NativeMapping.LockOf(arena.Path));
        }

        if (arena.Path.Length > 0)
            UnixAccess.Apply(arena.Path, arena.Mode, arena.Group);
        directory.Attach(store);
        return store;
    }
}
