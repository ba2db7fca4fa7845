using System.Collections.Immutable;
using KvCache.Engine.Index;
using KvCache.Engine.Security;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>The other silos, and their slots in this silo's index.</summary>
/// <remarks>Thread-safe; readers take no lock.</remarks>
internal sealed class ClusterMembers
{
    private readonly Lock _lock = new();
    private readonly ILocalSiloDetails _local;
    private readonly BlockDirectory _directory;
    private readonly RedisBlocks _redis;
    private readonly IOptions<ClusterOptions> _options;
    private readonly ClusterSecrets _secrets;
    private readonly TlsClient _tls;
    private readonly Random _random;
    private readonly PeerSilo?[] _bySlot = new PeerSilo?[PrefixIndex.MaxHolders];
    private ImmutableArray<PeerSilo> _peers = [];
    private readonly LeftSilos _left;

    public ClusterMembers(
        ILocalSiloDetails local, BlockDirectory directory, RedisBlocks redis, IOptions<ClusterOptions> options, ClusterSecrets secrets,
        TlsClient tls, Random? random = null)
    {
        _local = local;
        _directory = directory;
        _redis = redis;
        _options = options;
        _secrets = secrets;
        _tls = tls;
        _random = random ?? Random.Shared;
        _left = new LeftSilos(options.Value.CutOffLimit);

        // As long as one is not heard, nobody here can say that a block is nowhere.
        directory.UnderWay.Add(_ => Reachable < _peers.Length);
    }

    /// <summary>This silo.</summary>
    public SiloAddress Local => _local.SiloAddress;

    public ImmutableArray<PeerSilo> Peers => _peers;

    /// <summary>This silo is about to leave, and says so in every answer.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Bits of the silos that have said that they are about to leave.</summary>
    public ulong LeavingMask
    {
        get
        {
            var mask = IsLeaving ? 1UL << BlockDirectory.Self : 0;
            foreach (var peer in _peers)
                mask |= peer.IsLeaving ? peer.Bit : 0;
            return mask;
        }
    }

    /// <summary>Bits of the holders that can be asked now: this silo, the silos that have spoken lately, and Redis unless it is left alone
    /// because it failed.</summary>
    public ulong LiveMask
    {
        get
        {
            var mask = 1UL << BlockDirectory.Self;
            if (_redis.IsAvailable)
                mask |= 1UL << PrefixIndex.RedisHolder;
            foreach (var peer in _peers)
            {
                if (peer.IsReachable(_options.Value.SilenceLimit))
                    mask |= peer.Bit;
            }

            return mask;
        }
    }

    /// <summary>Bits of the other holders that can be asked now and are not about to leave; Redis is among them.</summary>
    public ulong StayingMask => LiveMask & ~(1UL << BlockDirectory.Self) & ~LeavingMask;

    /// <summary>Other silos that have spoken lately, after all that they have was taken over.</summary>
    public int Reachable => _peers.Count(peer => peer.IsReachable(_options.Value.SilenceLimit));

    public PeerSilo? BySlot(int slot) => Volatile.Read(ref _bySlot[slot]);

    public PeerSilo? Find(SiloAddress address) => _peers.FirstOrDefault(peer => peer.Address.Equals(address));

    /// <summary>Live silos of a mask, in random order, so that readers spread.</summary>
    public List<PeerSilo> Holders(ulong mask)
    {
        var holders = new List<PeerSilo>();
        foreach (var peer in _peers)
        {
            if ((mask & peer.Bit) != 0 && peer.IsReachable(_options.Value.SilenceLimit))
                holders.Insert(_random.Next(holders.Count + 1), peer);
        }

        return holders;
    }

    /// <summary>
    /// The better of two silos, chosen at random, by available memory (Mitzenmacher, "The power of two choices in randomized load
    /// balancing", 2001): nearly as even as the best of all, without everybody running to the same one.
    /// </summary>
    /// <param name="bytes">Memory that it must have.</param>
    /// <param name="without">Silos that are out of the question, beside those that are about to leave.</param>
    public PeerSilo? BetterOfTwo(long bytes, ulong without = 0)
    {
        PeerSilo? best = null;
        foreach (var peer in Holders(StayingMask & ~without).Take(2))
        {
            if (peer.AvailableBytes >= bytes && (best is null || peer.AvailableBytes > best.AvailableBytes))
                best = peer;
        }

        return best;
    }

    /// <summary>Adds a silo; null when there are more than the index has slots for.</summary>
    public PeerSilo? Add(SiloAddress address)
    {
        lock (_lock)
        {
            var slot = Array.IndexOf(_bySlot, null, BlockDirectory.Self + 1, PrefixIndex.RedisHolder - 1);
            if (slot < 0)
                return null;
            var peer = new PeerSilo(address, new IndexReplica(_directory.Index, slot, _directory), _secrets, _tls);
            Volatile.Write(ref _bySlot[slot], peer);
            _peers = _peers.Add(peer);
            return peer;
        }
    }

    /// <summary>Ends when no silo that was removed lets anything be read any more.</summary>
    public Task LeftAreSilent => _left.Silent;

    /// <summary>Forgets a silo and its blocks.</summary>
    /// <param name="peer">The silo.</param>
    /// <param name="isSilent">Whether it certainly lets nothing be read any more.</param>
    /// <returns>Number of blocks it had.</returns>
    public int Remove(PeerSilo peer, bool isSilent = false)
    {
        lock (_lock)
        {
            var blocks = peer.Replica.Dead();
            _peers = _peers.Remove(peer);
            if (!isSilent)
                _left.Add(peer.Endpoints);
            Volatile.Write(ref _bySlot[peer.Replica.Holder], null);
            peer.Dispose();
            return blocks;
        }
    }
}
