using System.Net;
using KvCache.Engine.Index;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Tiers;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Worlds;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.SimulationTests.Model;

/// <summary>A silo: the production parts that decide, put together as the host does it, over a tiny arena.</summary>
internal sealed class ModelSilo : ILocalSiloDetails, IServiceProvider, IDisposable
{
    private const int LogCapacity = 24;

    // Questions end when the schedule loses them, not by a clock.
    private static readonly IOptions<ClusterOptions> Options = Microsoft.Extensions.Options.Options.Create(new ClusterOptions
    {
        AskTimeout = Timeout.InfiniteTimeSpan,
        UnheardAskTimeout = Timeout.InfiniteTimeSpan,
        SilenceLimit = TimeSpan.FromDays(1),
        CutOffLimit = TimeSpan.Zero, // who crashes is silent at once
    });

    private static readonly ClusterCounters Counters = NewCounters(); // below Options, which it reads

    private readonly ModelTier _tier;

    public ModelSilo(World world, int node, TimeSpan skew, int arenaBlocks, int seed)
    {
        Node = node;
        Clock = new SkewedClock(world.Time, skew);
        SiloAddress = SiloAddress.New(IPAddress.Loopback, 1000 + node, 1);
        var random = new Random(seed);
        Directory = new BlockDirectory(new PrefixIndex(null, shards: 1), new IndexLog(LogCapacity, Clock), new Tombstones(time: Clock));
        var arena = Arena.CreatePrivate(arenaBlocks * Arena.PageBytes);
        arena.Commit();
        Store = new BlockStore(arena, StoreOptions, Clock, world.Mutation.Observe(Directory), random);
        Directory.Attach(Store);
        Grains = new ModelGrainFactory(world, this);
        var lives = new RecentLives(Store, Clock);
        _tier = new ModelTier(node, Store, lives, world.Redis, world.Network, Clock);
        var redis = new RedisBlocks(Store, Directory, pins: null, Clock, this);
        Members = new ClusterMembers(this, Directory, redis, Options, new ClusterSecrets(Options), TlsClient.Default, random);
        Fetcher = new BlockFetcher(
            Store, Directory, Members, redis, lives, Counters, Clock, Options, NullLogger<BlockFetcher>.Instance);
        var agents = new ModelAgents(world, this);
        Replicator = new Replicator(Store, Directory, Members, agents, Counters, Options, NullLogger<Replicator>.Instance);
        Redis = redis;
        Cluster = new ClusterBlocks(
            Store, Directory, Members, agents, Fetcher, Replicator, redis, Options, NullLogger<ClusterBlocks>.Instance);
        Writer = new BlockWriter(Store, Grains, this, Cluster, Options, NullLogger<BlockWriter>.Instance);
    }

    public static BlockStoreOptions StoreOptions { get; } = new() { MaxPinnedShare = 0.5, MaxCopiedShare = 0.5 };

    public int Node { get; }

    public bool IsAlive { get; private set; } = true;

    public SkewedClock Clock { get; }

    public SiloAddress SiloAddress { get; }

    public BlockStore Store { get; }

    public BlockDirectory Directory { get; }

    public ClusterMembers Members { get; }

    public BlockFetcher Fetcher { get; }

    public Replicator Replicator { get; }

    public RedisBlocks Redis { get; }

    public ClusterBlocks Cluster { get; }

    public BlockWriter Writer { get; }

    public ModelGrainFactory Grains { get; }

    public ModelTier Tier => _tier;

    /// <summary>For every block, the stamp of the latest deletion that this silo was told of.</summary>
    public ulong[] Heard { get; } = new ulong[TestBlocks.Count];

    string ILocalSiloDetails.Name => $"S{Node}";

    string ILocalSiloDetails.ClusterId => "simulated";

    string ILocalSiloDetails.DnsHostName => "localhost";

    SiloAddress ILocalSiloDetails.GatewayAddress => SiloAddress;

    public object? GetService(Type serviceType) => serviceType == typeof(IPayloadTier) ? _tier : null;

    public void Hear(int block, ulong stamp) => Heard[block] = Math.Max(Heard[block], stamp);

    public void Crash() => IsAlive = false;

    public void Dispose() => Store.Arena.Dispose();

    private static ClusterCounters NewCounters()
    {
        var directory = new BlockDirectory(new PrefixIndex(null, shards: 1), new IndexLog(1), new Tombstones());
        var redis = new RedisBlocks(null!, directory, null!, TimeProvider.System, new NoSilo()); // without a tier it touches nothing
        return new ClusterCounters(
            directory, new ClusterMembers(new NoSilo(), directory, redis, Options, new ClusterSecrets(Options), TlsClient.Default));
    }

    // Nothing is ever counted for it.
    private sealed class NoSilo : ILocalSiloDetails, IServiceProvider
    {
        public object? GetService(Type serviceType) => null;

        public string Name => "none";

        public string ClusterId => "simulated";

        public string DnsHostName => "localhost";

        public SiloAddress SiloAddress => SiloAddress.Zero;

        public SiloAddress GatewayAddress => SiloAddress.Zero;
    }
}
