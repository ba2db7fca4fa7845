using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Client.SharedMemory;

/// <summary>
/// The memory of a silo of this machine, mapped read-only, and this process's leases on blocks in it. A lease is kept a little longer than
/// it is used: reading a block again then asks nobody.
/// </summary>
/// <remarks>
/// Thread-safe, but for the connections that are passed in. What is not needed any more is released with the next question to the silo, or
/// by <see cref="ReleaseIdle"/>; what a process leaves behind, the silo releases when the process is gone.
/// </remarks>
/// <param name="keep">Time that an unused lease is kept; a block that somebody deletes can be read here for so long.</param>
/// <param name="maxKept">Most blocks whose leases are kept.</param>
/// <param name="verify">Whether copies are compared with their checksums.</param>
/// <param name="time">Clock.</param>
internal sealed class SiloMemory(TimeSpan keep, int maxKept, bool verify, TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<BlockKey, (LeasedBlock Block, long Until)> _kept = [];
    private readonly List<ulong> _unused = [];
    private SharedArena? _arena;
    private ulong _arenaId;

    /// <summary>Copies consecutive blocks into the caller's memory, up to the first that is missing or damaged.</summary>
    /// <param name="connection">A connection to the silo.</param>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="destinations">Memory for blocks, each as large as the layers.</param>
    /// <param name="delivered">Index of the first block's memory; is raised for each block that is complete.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <returns>Whether everything was delivered, a block was missing, or one was damaged.</returns>
    /// <exception cref="SiloException">The silo does not share its memory.</exception>
    /// <exception cref="IOException">The arena cannot be mapped.</exception>
    /// <exception cref="UnauthorizedAccessException">The arena belongs to another user.</exception>
    public MissReason Copy(
        BlockConnection connection, CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range,
        IReadOnlyList<Memory<byte>> destinations, ref int delivered, CacheHint? hint = null)
    {
        while (hashes.Length > 0)
        {
            var blocks = new List<LeasedBlock>(hashes.Length);
            Lease(connection, ns, hashes, localOnly: true, blocks, hint);
            try
            {
                if (blocks.Count == 0)
                    return MissReason.Absent;
                if (!TryCopy(blocks, range, destinations, ref delivered, out var damaged))
                {
                    Drop(ns, hashes.Slice(damaged, 1));
                    connection.Verify(ns, hashes[damaged], blocks[damaged].Generation);
                    return MissReason.Corrupt;
                }

                hashes = hashes[blocks.Count..];
            }
            finally
            {
                Return(blocks);
            }
        }

        return MissReason.None;
    }

    /// <summary>Copies consecutive blocks whose leases this process still has, without asking anybody.</summary>
    /// <inheritdoc cref="Copy"/>
    public void CopyKept(
        CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range, IReadOnlyList<Memory<byte>> destinations, ref int delivered)
    {
        var blocks = new List<LeasedBlock>();
        TakeKept(ns, hashes, blocks);
        TryCopy(blocks, range, destinations, ref delivered, out _); // what is damaged is read again, and then told
        Return(blocks);
    }

    /// <summary>Whether an exception says that the silo's memory cannot be read in place: it does not share it, or its file cannot be
    /// mapped.</summary>
    public static bool IsNotShared(Exception exception) =>
        exception is IOException or UnauthorizedAccessException or SiloException { Status: WireStatus.InvalidRequest };

    /// <summary>Copies consecutive blocks into the caller's memory layer by layer: the first layer of all of them first.</summary>
    /// <param name="connection">A connection to the silo.</param>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="range">Layers to read.</param>
    /// <param name="destinations">Memory for each block, as large as the layers.</param>
    /// <param name="sink">Hears of every layer.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <inheritdoc cref="Copy"/>
    public MissReason CopyLayers(
        BlockConnection connection, CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range,
        IReadOnlyList<Memory<byte>> destinations, ILayerSink sink, CacheHint? hint = null)
    {
        var blocks = new List<LeasedBlock>(hashes.Length);
        Lease(connection, ns, hashes, localOnly: true, blocks, hint);
        try
        {
            sink.Promised(blocks.Count);
            var intact = blocks.Count;
            for (var layer = range.First; layer < range.End; layer++)
            {
                var (start, bytes) = (ns.Layout.OffsetIn(range, layer), ns.Layout.LayerBytes(layer));
                for (var i = 0; i < intact; i++)
                {
                    if (!blocks[i].CopyTo(new LayerRange(layer, 1), destinations[i].Span.Slice(start, bytes), verify))
                        intact = i;
                }

                sink.Arrived(layer, intact);
            }

            if (intact == blocks.Count)
                return blocks.Count == hashes.Length ? MissReason.None : MissReason.Absent;
            Drop(ns, hashes.Slice(intact, 1));
            connection.Verify(ns, hashes[intact], blocks[intact].Generation);
            return MissReason.Corrupt;
        }
        finally
        {
            Return(blocks);
        }
    }

    /// <summary>Leases consecutive blocks, up to the first that cannot be had.</summary>
    /// <param name="connection">A connection to the silo.</param>
    /// <param name="ns">Namespace.</param>
    /// <param name="hashes">The blocks.</param>
    /// <param name="localOnly">Only what the silo itself holds.</param>
    /// <param name="blocks">Receives them; each is to be given back.</param>
    /// <param name="hint">What is known of when the blocks are used again.</param>
    /// <inheritdoc cref="Copy"/>
    public void Lease(
        BlockConnection connection, CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, bool localOnly, ICollection<LeasedBlock> blocks,
        CacheHint? hint = null)
    {
        var kept = TakeKept(ns, hashes, blocks);
        if (kept == hashes.Length)
            return;
        if (connection.ArenaId is null)
            Attach(connection);
        ReleaseIdle(connection);
        hashes = hashes[kept..];
        var places = new List<MappedBlock>();
        var id = connection.GetMapped(ns, hashes, localOnly, places, hint);
        lock (_lock)
        {
            if (id == 0 || connection.ArenaId != _arenaId)
                return; // the silo was restarted while it answered: these places are in memory that is not its arena any more
            var group = new LeaseGroup(id) { Users = places.Count };
            for (var i = 0; i < places.Count; i++)
            {
                var block = new LeasedBlock(_arena!, ns.Layout, places[i].Generation, places[i].Offset, places[i].Checksums, group);
                blocks.Add(block);
                Keep(new BlockKey(ns.Id, hashes[i]), block);
            }
        }
    }

    /// <summary>Takes blocks whose leases this process still has, from the first one on.</summary>
    /// <returns>Number of blocks.</returns>
    public int TakeKept(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, ICollection<LeasedBlock> blocks)
    {
        lock (_lock)
        {
            var now = time.GetTimestamp();
            var count = 0;
            for (; count < hashes.Length && _kept.TryGetValue(new BlockKey(ns.Id, hashes[count]), out var entry)
                && now < entry.Until; count++)
            {
                entry.Block.Group.Users++;
                blocks.Add(entry.Block);
            }

            return count;
        }
    }

    /// <summary>Gives blocks back.</summary>
    public void Return(IEnumerable<LeasedBlock> blocks)
    {
        lock (_lock)
        {
            foreach (var block in blocks)
                Leave(block);
        }
    }

    /// <summary>Drops blocks of a prefix that was deleted, or that turned out to be damaged.</summary>
    public void Drop(CacheNamespace ns, ReadOnlySpan<BlockHash> hashes)
    {
        lock (_lock)
        {
            foreach (var hash in hashes)
            {
                if (_kept.Remove(new BlockKey(ns.Id, hash), out var entry))
                    Leave(entry.Block);
            }
        }
    }

    /// <summary>Forgets the kept leases on blocks of a namespace.</summary>
    public void Drop(CacheNamespace ns)
    {
        lock (_lock)
        {
            foreach (var key in _kept.Keys.Where(key => key.Namespace == ns.Id).ToArray())
            {
                if (_kept.Remove(key, out var entry))
                    Leave(entry.Block);
            }
        }
    }

    /// <summary>Ends leases that nobody has used for a while.</summary>
    public void ReleaseIdle(BlockConnection connection)
    {
        ulong[] unused;
        lock (_lock)
        {
            var now = time.GetTimestamp();
            foreach (var (key, entry) in _kept)
            {
                if (entry.Until <= now && _kept.Remove(key))
                    Leave(entry.Block);
            }

            if (_unused.Count == 0)
                return;
            unused = [.. _unused];
            _unused.Clear();
        }

        foreach (var id in unused)
            connection.Release(id);
    }

    /// <summary>Ends all leases that nobody uses now.</summary>
    public void ReleaseAll(BlockConnection connection)
    {
        lock (_lock)
        {
            foreach (var entry in _kept.Values)
                Leave(entry.Block);
            _kept.Clear();
        }

        ReleaseIdle(connection);
    }

    private void Attach(BlockConnection connection)
    {
        var offer = connection.MapArena(segmentBytes: 0);
        lock (_lock)
        {
            if (_arena is not null && _arenaId == offer.ArenaId)
                return;

            // The first silo, or the same one after a restart. Blocks of the old arena stay mapped for those who still read them.
            Forget();
            _arena = SharedArena.Open(offer.ArenaPath, offer.ArenaBytes);
            _arenaId = offer.ArenaId;
        }
    }

    private bool TryCopy(
        List<LeasedBlock> blocks, LayerRange range, IReadOnlyList<Memory<byte>> destinations, ref int delivered, out int damaged)
    {
        for (damaged = 0; damaged < blocks.Count; damaged++)
        {
            if (!blocks[damaged].CopyTo(range, destinations[delivered].Span, verify))
                return false;
            delivered++;
        }

        return true;
    }

    private void Keep(BlockKey key, LeasedBlock block)
    {
        if (keep <= TimeSpan.Zero || _kept.Count >= maxKept || _kept.ContainsKey(key))
            return;
        _kept.Add(key, (block, time.GetTimestamp() + (long)(keep.TotalSeconds * time.TimestampFrequency)));
        block.Group.Users++;
    }

    private void Leave(LeasedBlock block)
    {
        if (--block.Group.Users == 0 && ReferenceEquals(block.Arena, _arena))
            _unused.Add(block.Group.Id);
    }

    // The mapping itself goes when the last block of it is gone: it is a safe handle, and blocks refer to it.
    private void Forget()
    {
        foreach (var entry in _kept.Values)
            Leave(entry.Block);
        _kept.Clear();
        _unused.Clear();
        _arena = null;
    }
}
