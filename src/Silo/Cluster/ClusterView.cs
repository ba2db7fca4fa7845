using System.Numerics;
using KvCache.Binary;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Silo.Hosting;

namespace KvCache.Silo.Cluster;

/// <summary>A silo as the front ends see it.</summary>
/// <param name="Bit">Its bit in masks of holders.</param>
/// <param name="IsHere">Whether it is this one.</param>
/// <param name="Endpoints">Its data-plane addresses.</param>
internal readonly record struct SiloPlace(ulong Bit, bool IsHere, IReadOnlyList<string> Endpoints);

/// <summary>What the front ends of this silo see of the cluster: where blocks are, as far as it can be asked for them now.</summary>
internal sealed class ClusterView(
    BlockStore store, BlockDirectory directory, ClusterMembers members, RemoteReads reads, RedisBlocks redis, BlockFetcher fetcher,
    IClusterBlocks cluster, NamespaceClears clears)
{
    private const ulong SelfBit = 1UL << BlockDirectory.Self;

    /// <summary>Blocks of a chain whose reading from below a hold starts.</summary>
    private const int PromotedByHold = 64;

    public BlockDirectory Directory => directory;

    /// <summary>Whether this silo is about to leave.</summary>
    public bool IsLeaving => members.IsLeaving;

    /// <summary>Counts the blocks of a chain that somebody has, and says who. One local look-up, and no use of any block.</summary>
    public int Match(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, Span<ulong> holders) =>
        store.Term.IsOver ? 0 : directory.Index.Match(ns, hashes, holders, members.LiveMask);

    /// <summary>Whether it is worth asking a block's grain about it: somebody has it, or Redis says that it does. What nobody has activates
    /// nothing.</summary>
    public async ValueTask<bool> MayHaveAsync(BlockKey key) =>
        directory.Index.HoldersOf(key) != 0 || store.Contains(key) || (redis.IsAvailable && await redis.ContainsAsync(key));

    /// <summary>Takes leases on those blocks of a chain that are in memory here, and starts to read those that the disk or only Redis
    /// has.</summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">Blocks that were found.</param>
    /// <param name="maxBytes">Most arena bytes that all leases may keep.</param>
    /// <param name="leases">Receives the leases; may have some already.</param>
    public void Hold(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, long maxBytes, LeaseList leases)
    {
        var promoted = 0;
        foreach (var hash in hashes)
        {
            var key = new BlockKey(ns, hash);
            if (store.TryHold(key) is not { } lease)
            {
                if (promoted++ < PromotedByHold)
                    fetcher.Prefetch(key);
                continue;
            }

            if (!leases.TryAdd(lease, maxBytes))
                return;
        }
    }

    /// <summary>Remembers that blocks which are not here are about to be read; those that are read often get a copy here.</summary>
    public void NoteReads(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, ReadOnlySpan<ulong> holders)
    {
        for (var i = 0; i < hashes.Length; i++)
        {
            if ((holders[i] & SelfBit) == 0)
                reads.Note(new BlockKey(ns, hashes[i]));
        }
    }

    /// <summary>Writes the answer to a locate.</summary>
    /// <param name="writer">Receives it.</param>
    /// <param name="holders">Holders of every block that was found; changed.</param>
    /// <param name="here">Addresses of this silo.</param>
    public void WriteLocations(WireWriter writer, Span<ulong> holders, IReadOnlyList<string> here)
    {
        writer.UInt32((uint)holders.Length);
        var all = 0UL;
        var leaving = members.LeavingMask;
        for (var i = 0; leaving != 0 && i < holders.Length; i++)
        {
            // Who leaves is named where nobody else has the block.
            if ((holders[i] & ~leaving & ~BlockRun.Redis) != 0)
                holders[i] &= ~leaving;
        }

        foreach (var mask in holders)
            all |= mask;
        all &= members.LiveMask & ~BlockRun.Redis;
        var silos = writer.Length;
        writer.UInt8(0);
        var known = 0UL;
        for (var rest = all; rest != 0; rest &= rest - 1)
        {
            var slot = BitOperations.TrailingZeroCount(rest);
            var endpoints = slot == BlockDirectory.Self ? here : members.BySlot(slot)?.Endpoints;
            if (endpoints is null)
                continue; // it has left this moment
            known |= 1UL << slot;
            writer.Writable[silos]++;
            writer.UInt8(slot == BlockDirectory.Self ? (byte)1 : (byte)0);
            writer.UInt8((byte)endpoints.Count);
            foreach (var endpoint in endpoints)
                writer.Text(endpoint);
        }

        var runs = writer.Length;
        writer.UInt32(0);
        uint count = 0;
        for (var i = 0; i < holders.Length; count++)
        {
            var start = i;
            var mask = holders[i];
            while (i < holders.Length && holders[i] == mask)
                i++;
            writer.UInt32((uint)(i - start));
            writer.UInt64(Compact(mask & known, known) | (mask & BlockRun.Redis));
        }

        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(writer.Writable[runs..], count);
    }

    /// <summary>The silos that can be asked now, this one first.</summary>
    /// <param name="here">Addresses of this silo.</param>
    public IReadOnlyList<SiloPlace> Silos(IReadOnlyList<string> here) =>
        [new SiloPlace(SelfBit, true, here),
            .. members.Holders(ulong.MaxValue).Select(peer => new SiloPlace(peer.Bit, false, peer.Endpoints))];

    /// <summary>Addresses of a silo that has room for a block, or nothing.</summary>
    public IReadOnlyList<string> RoomierEndpoints(long bytes) => members.BetterOfTwo(bytes)?.Endpoints ?? [];

    /// <summary>Deletes blocks everywhere. Blocks the thread.</summary>
    public ItemOutcome[] Delete(NamespaceId ns, ReadOnlySpan<BlockHash> hashes) =>
        cluster.DeleteAsync(KeysOf(ns, hashes)).AsTask().GetAwaiter().GetResult();

    /// <summary>Sets the life of blocks everywhere. Blocks the thread.</summary>
    public ItemOutcome[] SetTimeToLive(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, TimeSpan timeToLive) =>
        cluster.SetTimeToLiveAsync(KeysOf(ns, hashes), timeToLive).AsTask().GetAwaiter().GetResult();

    /// <summary>Passes a hint on to who has the end of a chain, this silo or others. Waits for nobody.</summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">The chain, or the end of it.</param>
    /// <param name="masks">Room for as many masks.</param>
    /// <param name="hint">What is known.</param>
    /// <param name="ends">Whether the request is over.</param>
    /// <returns>Blocks that somebody has, counted from the first one given.</returns>
    public int Hint(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, Span<ulong> masks, CacheHint hint, bool ends = true)
    {
        store.Tell(ns, hashes, hint, ends);
        var found = Match(ns, hashes, masks);
        var others = 0UL;
        foreach (var mask in masks[..found])
            others |= mask;
        for (var rest = others & ~(SelfBit | BlockRun.Redis); rest != 0; rest &= rest - 1)
        {
            var bit = rest & (~rest + 1);
            var last = found - 1;
            while ((masks[last] & bit) == 0)
                last--;
            cluster.PassHint(bit, new BlockKey(ns, hashes[last]), hint, ends);
        }

        return found;
    }

    /// <inheritdoc cref="NamespaceClears.ClearAsync(NamespaceId, TimeSpan)"/>
    public Task<DeleteResult> ClearAsync(NamespaceId ns, TimeSpan patience) => clears.ClearAsync(ns, patience);

    private static BlockKey[] KeysOf(NamespaceId ns, ReadOnlySpan<BlockHash> hashes)
    {
        var keys = new BlockKey[hashes.Length];
        for (var i = 0; i < keys.Length; i++)
            keys[i] = new BlockKey(ns, hashes[i]);
        return keys;
    }

    // Slots of this silo's index mean nothing elsewhere: the answer numbers its silos in the order in which it names them.
    private static ulong Compact(ulong mask, ulong known)
    {
        var result = 0UL;
        for (var bit = 0; known != 0; bit++, known &= known - 1)
        {
            if ((mask & known & (~known + 1)) != 0)
                result |= 1UL << bit;
        }

        return result;
    }
}
