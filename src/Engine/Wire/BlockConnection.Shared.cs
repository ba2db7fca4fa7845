using System.Runtime.InteropServices;

namespace KvCache.Engine.Wire;

/// <summary>A silo's memory, and a segment to hand blocks over in.</summary>
/// <param name="ArenaId">Id of the arena; another one means another memory, even at the same path.</param>
/// <param name="ArenaPath">Where to map it.</param>
/// <param name="ArenaBytes">Its size.</param>
/// <param name="SegmentPath">Where to map the segment; it lives as long as the connection.</param>
/// <param name="SegmentBytes">Its size; 0 for none.</param>
internal sealed record SharedMemoryOffer(ulong ArenaId, string ArenaPath, long ArenaBytes, string SegmentPath, long SegmentBytes);

/// <summary>Where a leased block lies in the mapped arena.</summary>
/// <param name="Generation">The write that produced the bytes.</param>
/// <param name="Offset">Start inside the arena, in bytes.</param>
/// <param name="Checksums">CRC-32 of every layer.</param>
internal readonly record struct MappedBlock(ulong Generation, long Offset, uint[] Checksums);

/// <content>Blocks that do not cross the socket.</content>
internal sealed partial class BlockConnection
{
    /// <summary>Id of the arena that <see cref="MapArena"/> has offered on this connection; null before.</summary>
    public ulong? ArenaId { get; private set; }

    /// <summary>Asks to read the silo's memory in place. Only a silo of this machine, on a Unix socket, that was told to share it
    /// agrees.</summary>
    /// <param name="segmentBytes">Size of a segment to hand blocks over in; 0 for none. The silo may grant less.</param>
    /// <exception cref="SiloException">The silo does not share its memory with this client.</exception>
    public SharedMemoryOffer MapArena(long segmentBytes)
    {
        Begin().UInt64((ulong)segmentBytes);
        var reader = Exchange(FrameType.MapArena, FrameType.MapArenaReply);
        var id = reader.UInt64();
        var arenaBytes = (long)reader.UInt64();
        var arenaPath = reader.Text(ushort.MaxValue, "arena path");
        var bytes = (long)reader.UInt64();
        var offer = new SharedMemoryOffer(id, arenaPath, arenaBytes, reader.Text(ushort.MaxValue, "segment path"), bytes);
        reader.End();
        ArenaId = id;
        return offer;
    }

    /// <summary>Leases blocks in the mapped arena, up to the first that is missing or that the silo does not lease any more of.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="localOnly">Only what this silo holds.</param>
    /// <param name="blocks">Receives where they lie.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>Id of the lease, for <see cref="Release"/> on any connection of this process; 0 when there are no blocks.</returns>
    public ulong GetMapped(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, bool localOnly, ICollection<MappedBlock> blocks, CacheHint? hint = null)
    {
        var handle = Open(ns);
        var request = Begin(hint);
        request.UInt32(handle);
        request.UInt8(localOnly ? WireProtocol.GetLocalOnly : (byte)0);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        var reader = Exchange(FrameType.GetMapped, FrameType.GetMappedReply);
        var lease = reader.UInt64();
        var count = reader.Count(hashes.Length, "blocks");
        for (var i = 0; i < count; i++)
        {
            var generation = reader.UInt64();
            var offset = (long)reader.UInt64();
            blocks.Add(new MappedBlock(
                generation, offset, MemoryMarshal.Cast<byte, uint>(reader.Bytes(ns.Layout.Layers * sizeof(uint))).ToArray()));
        }

        reader.End();
        return lease;
    }

    /// <summary>Stores blocks of one chain that lie in the segment, one behind another.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">One a block.</param>
    /// <param name="parent">Hash of the block before the first one, or zero.</param>
    /// <param name="depth">Index of the first block in its chain.</param>
    /// <param name="offset">Start of the first block in the segment.</param>
    /// <param name="options">Time to live and what eviction should know.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    public PutReply PutMapped(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, BlockHash parent, int depth, long offset, StoreOptions options,
        CacheHint? hint = null)
    {
        var handle = Open(ns);
        var request = Begin(hint);
        request.UInt64((ulong)offset);
        WritePut(request, handle, hashes, parent, depth, options);
        Send(FrameType.PutMapped);
        return ReadPutReply(FrameType.PutMappedReply, hashes.Length);
    }
}
