using KvCache.Binary;

namespace KvCache.Engine.Wire;

/// <content>What is stored, and where.</content>
internal sealed partial class BlockConnection
{
    /// <summary>Asks how much of a chain is stored.</summary>
    /// <param name="namespaces">Namespaces of the ranks; what all of them have is found.</param>
    /// <param name="hashes">The chain, at most <see cref="WireProtocol.MaxBlocksPerRequest"/> blocks.</param>
    /// <param name="hold">Time to keep the found blocks; zero only looks.</param>
    /// <param name="locations">Receives where the found blocks of each namespace are, of the first ones at least; empty when nobody wants
    /// to know, as nothing is to be read.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>Blocks found, and the id of the hold or 0.</returns>
    public (int Found, ulong HoldId) Match(
        ReadOnlySpan<CacheNamespace> namespaces, ReadOnlySpan<BlockHash> hashes, TimeSpan hold,
        Span<BlockLocations?> locations = default, CacheHint? hint = null)
    {
        foreach (var ns in namespaces)
            Open(ns);
        var request = Begin(hint, flag: locations.IsEmpty ? (ushort)0 : WireFields.WithLocations);
        request.UInt32((uint)hold.TotalMilliseconds);
        request.UInt32((uint)namespaces.Length);
        foreach (var ns in namespaces)
            request.UInt32(Open(ns));
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        var reader = Exchange(FrameType.Match, FrameType.MatchReply);
        var found = reader.Count(hashes.Length, "found");
        var holdId = reader.UInt64();
        _ = reader.UInt32(); // granted time: holds end by themselves
        for (var i = 0; i < locations.Length && reader.Remaining > 0; i++)
            locations[i] = ReadLocations(ref reader, found);
        reader.End();
        return (found, holdId);
    }

    /// <summary>Asks which silos hold a chain.</summary>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The chain, at most <see cref="WireProtocol.MaxBlocksPerRequest"/> blocks.</param>
    /// <param name="isRead">Whether the blocks are about to be read. The silo takes copies of what is often read from afar.</param>
    public BlockLocations Locate(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, bool isRead = true)
    {
        var handle = Open(ns);
        var request = Begin(flag: isRead ? (ushort)0 : WireFields.NotARead);
        request.UInt32(handle);
        request.UInt32((uint)hashes.Length);
        request.Hashes(hashes);
        var reader = Exchange(FrameType.Locate, FrameType.LocateReply);
        var locations = ReadLocations(ref reader, hashes.Length);
        reader.End();
        return locations;
    }

    private static BlockLocations ReadLocations(ref WireReader reader, int most)
    {
        var found = reader.Count(most, "found");
        var silos = new BlockHolder[reader.UInt8()];
        for (var i = 0; i < silos.Length; i++)
            silos[i] = new BlockHolder(reader.UInt8() == 1, Endpoints(ref reader));
        var runs = new BlockRun[reader.Count(found, "runs")];
        var blocks = 0;
        for (var i = 0; i < runs.Length; i++)
        {
            runs[i] = new BlockRun(reader.Count(found - blocks, "blocks of a run"), reader.UInt64());
            blocks += runs[i].Blocks;
        }

        return blocks == found
            ? new BlockLocations(found, silos, runs)
            : throw new KvFormatException($"The silo found {found} blocks and located {blocks}.");
    }

    private static string[] Endpoints(ref WireReader reader)
    {
        var endpoints = new string[reader.UInt8()];
        for (var i = 0; i < endpoints.Length; i++)
            endpoints[i] = reader.Text(SiloEndpoint.MaxTextBytes, "endpoint");
        return endpoints;
    }
}
