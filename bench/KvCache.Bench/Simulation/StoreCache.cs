using System.Buffers.Binary;
using KvCache.Bench.Traces;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Simulation;

/// <summary>
/// The silo's own block store over an arena of one page a block, driven as its front ends drive it: a get leases the blocks that are there,
/// a put reserves and publishes those that are not. What decides is the production code.
/// </summary>
internal sealed class StoreCache : IDisposable
{
    private static readonly KvLayout Layout = KvLayout.Opaque([0, Arena.PageBytes], TraceRequest.TokensPerBlock);
    private readonly BlockStore _store;
    private ulong _requests;

    /// <param name="capacity">Blocks that it holds.</param>
    public StoreCache(int capacity)
    {
        var arena = Arena.CreatePrivate((long)capacity * Arena.PageBytes);
        arena.Commit();
        _store = new BlockStore(arena);
    }

    /// <summary>Looks a chain up as a prefix, up to the first miss, then stores all of its blocks.</summary>
    /// <returns>Blocks found.</returns>
    public int Serve(ReadOnlySpan<int> chain)
    {
        _requests++;
        var hits = 0;
        while (hits < chain.Length && _store.TryLease(Key(chain[hits])) is { } lease)
        {
            lease.Dispose();
            hits++;
        }

        for (var i = hits; i < chain.Length; i++)
        {
            var key = Key(chain[i]);
            if (_store.Contains(key))
                continue;
            var parent = i == 0 ? default : Key(chain[i - 1]).Hash;
            using var write =
                _store.TryReserve(key, Layout, new BlockLineage(parent, i, _requests, (chain.Length - hits) * TraceRequest.TokensPerBlock));
            if (write is not null)
                _store.Publish(key, write.Generation);
        }

        return hits;
    }

    public void Dispose() => _store.Dispose();

    private static BlockKey Key(int block)
    {
        Span<byte> hash = stackalloc byte[BlockHash.Size];
        hash.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(hash, block + 1);
        return new BlockKey(default, new BlockHash(hash));
    }
}
