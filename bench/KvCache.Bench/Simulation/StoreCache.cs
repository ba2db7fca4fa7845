using System.Buffers.Binary;
using KvCache.Benchmarks;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Simulation;

/// <summary>
/// The silo's own block store over an arena of one page a block, driven as its front ends drive it: a get leases the blocks that are there,
/// a put reserves and publishes those that are not. What decides is the production code.
/// </summary>
internal sealed class StoreCache : IDisposable
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, Arena.PageBytes], TraceRequest.TokensPerBlock);
    private readonly TraceClock _clock = new();
    private readonly BlockStore _store;
    private readonly bool _hints;

    /// <param name="capacity">Blocks that it holds.</param>
    /// <param name="policy">Name of its eviction policy.</param>
    /// <param name="hints">Whether it is told how answers ended, behind the put, as clients do.</param>
    public StoreCache(int capacity, string policy, bool hints)
    {
        _hints = hints;
        var arena = Arena.CreatePrivate((long)capacity * Arena.PageBytes);
        arena.Commit();
        _store = new BlockStore(arena, new BlockStoreOptions { Eviction = policy }, _clock);
    }

    /// <summary>The store.</summary>
    public BlockStore Blocks => _store;

    /// <summary>Looks a chain up as a prefix, up to the first miss, then stores all of its blocks.</summary>
    /// <returns>Blocks found.</returns>
    public int Serve(SimulatedRequest request)
    {
        _clock.Milliseconds = request.Timestamp;
        var chain = request.Chain;
        var hashes = new BlockHash[chain.Length];
        for (var i = 0; i < chain.Length; i++)
            hashes[i] = Key(chain[i]).Hash;
        var facts = new RequestFacts(request.TokensPerBlock);
        var hits = Read(hashes, facts);
        if (hits < hashes.Length)
            Store(hashes, hits, facts);
        if (_hints && request.Hint is { } hint)
            _store.Tell(default, hashes, hint);
        return hits;
    }

    public void Dispose() => _store.Dispose();

    private int Read(ReadOnlySpan<BlockHash> hashes, RequestFacts facts)
    {
        var found = _store.Match(default, hashes);
        var request = _store.BeginRequest(default, default, hashes[..found], facts);
        var hits = 0;
        while (hits < found && _store.TryLease(new BlockKey(default, hashes[hits]), request) is { } lease)
        {
            lease.Dispose();
            hits++;
        }

        return hits;
    }

    private void Store(ReadOnlySpan<BlockHash> hashes, int first, RequestFacts facts)
    {
        var parent = first == 0 ? default : hashes[first - 1];
        var request = _store.BeginRequest(default, parent, hashes[first..], facts);
        foreach (var hash in hashes[first..])
        {
            var key = new BlockKey(default, hash);
            if (_store.TryBegin(key, Layout, new BlockLineage(parent, first++, 0, 0), replace: false, out var write, request)
                == BeginOutcome.Accepted)
            {
                using (write)
                    _store.Publish(key, write!.Generation);
            }

            parent = hash;
        }
    }

    private static BlockKey Key(int block)
    {
        Span<byte> hash = stackalloc byte[BlockHash.Size];
        hash.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(hash, block + 1);
        return new BlockKey(default, new BlockHash(hash));
    }

    private sealed class TraceClock : TimeProvider
    {
        public long Milliseconds { get; set; }

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => Milliseconds;
    }
}
