using System.Diagnostics;
using System.Numerics;
using System.Runtime.InteropServices;
using KvCache.Bench.Measuring;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Cores;

/// <summary>What one thread does to a store: chains of its own, no bytes, and so nothing but the store's own work.</summary>
/// <param name="store">The store.</param>
/// <param name="number">Number of the thread, from 0.</param>
/// <param name="present">Chains that it keeps to read.</param>
internal sealed class StoreThread(BlockStore store, int number, int present)
{
    /// <summary>Blocks of a chain: a prompt of 16k tokens.</summary>
    public const int Length = 64;

    private const int TokensPerBlock = 256;
    private static readonly KvLayout Layout = KvLayout.Opaque(Arena.PageBytes, TokensPerBlock);
    private static readonly NamespaceId Namespace = new(new TenantId(1), 2);

    private readonly BlockHash[] _chain = new BlockHash[Length];
    private readonly BlockLease?[] _leases = new BlockLease?[Length];
    private long _next, _turn;

    /// <summary>Stores the chains that <see cref="Lease"/> reads.</summary>
    public void Fill()
    {
        for (var chain = 0; chain < present; chain++)
            Put(chain, null);
    }

    /// <summary>Leases the blocks of a chain, one after another, and releases them.</summary>
    /// <returns>Blocks.</returns>
    public int Lease()
    {
        Name(_turn++ % present);
        var request = store.BeginRequest(Namespace, default, _chain, new RequestFacts(TokensPerBlock));
        var leased = 0;
        while (leased < Length && store.TryLease(new BlockKey(Namespace, _chain[leased]), request) is { } lease)
            _leases[leased++] = lease;
        for (var block = leased - 1; block >= 0; block--)
            _leases[block]!.Dispose();
        return leased;
    }

    /// <summary>Stores the blocks of a new chain.</summary>
    /// <param name="samples">Receives the time of each; null for nobody.</param>
    /// <returns>Blocks.</returns>
    public int Put(LatencySamples? samples) => Put(present + _next++, samples);

    /// <summary>Work without any memory in common: what the machine itself gives to several threads.</summary>
    public static int Spin(ref ulong state)
    {
        for (var i = 0; i < 4096; i++)
            state = BitOperations.RotateLeft(state * 0x9E3779B97F4A7C15, 31) + 1;
        return Length;
    }

    private int Put(long chain, LatencySamples? samples)
    {
        Name(chain);
        var request = store.BeginRequest(Namespace, default, _chain, new RequestFacts(TokensPerBlock));
        BlockHash parent = default;
        for (var depth = 0; depth < Length; depth++)
        {
            var began = samples is null ? 0 : Stopwatch.GetTimestamp();
            var key = new BlockKey(Namespace, _chain[depth]);
            var outcome = store.TryBegin(
                key, Layout, new BlockLineage(parent, depth, 0, 0), replace: false, out var write, request, insists: true);
            if (outcome != BeginOutcome.Accepted)
                return depth; // another thread's block took the place of the end of this chain
            using (write)
                store.Publish(key, write!.Generation);
            samples?.Add(began);
            parent = _chain[depth];
        }

        return Length;
    }

    private void Name(long chain)
    {
        var words = MemoryMarshal.Cast<BlockHash, ulong>(_chain.AsSpan());
        var state = ((ulong)chain << 8) + (ulong)number;
        foreach (ref var word in words)
        {
            // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): hashes have to look like hashes.
            var mixed = state = unchecked((state * 0xD1342543DE82EF95) + 0x9E3779B97F4A7C15);
            mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
            word = mixed ^ (mixed >> 31);
        }
    }
}
