using System.Buffers.Binary;
using System.Diagnostics;
using KvCache.Bench.Simulation;
using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Eviction;

namespace KvCache.Bench.Disk;

/// <summary>
/// Replays a trace through a store with a disk below it: real blocks with a content of their own, real files, the trace's clock. A request is
/// looked up as a prefix, its blocks are read and compared up to the first miss, and the rest is stored. It goes on as fast as the disk keeps
/// up.
/// </summary>
internal sealed class TieredReplay : IDisposable
{
    private const int ReadAhead = 4; // as a silo's sessions do

    private readonly TraceClock _clock = new();
    private readonly DiskedStore _disked;
    private readonly KvLayout _layout;
    private readonly bool _hints;

    /// <param name="path">Where the folder of the files is made.</param>
    /// <param name="blockBytes">Bytes of a block.</param>
    /// <param name="arena">Blocks that the memory holds.</param>
    /// <param name="disk">Blocks that the disk has room for; 0 for none.</param>
    /// <param name="tokens">Tokens of a block.</param>
    /// <param name="hints">Whether the store is told how answers ended.</param>
    public TieredReplay(string path, int blockBytes, int arena, int disk, int tokens, bool hints)
    {
        _hints = hints;
        _layout = KvLayout.Opaque([0, blockBytes], tokens);
        var onDisk = (long)blockBytes + (2 * 4096); // the head's page, and its part of a table
        _disked = new DiskedStore(
            path, arena * Arena.RoundUp(blockBytes), disk == 0 ? 0 : Math.Max(64L << 20, disk * onDisk), _clock, EvictionPolicies.Default);
    }

    /// <summary>Blocks that were in memory.</summary>
    public long MemoryHits { get; private set; }

    /// <summary>Blocks that were read from the disk.</summary>
    public long DiskHits { get; private set; }

    /// <summary>Time of the reads from the disk, the wait for those ahead included.</summary>
    public TimeSpan DiskTime { get; private set; }

    /// <summary>Time of the reads from memory.</summary>
    public TimeSpan MemoryTime { get; private set; }

    /// <summary>Tokens that were not found.</summary>
    public long MissedTokens { get; private set; }

    /// <summary>Bytes written to the disk.</summary>
    public long WrittenBytes => _disked.Tier?.GetStatus().WrittenBytes ?? 0;

    /// <summary>Serves a request.</summary>
    /// <exception cref="InvalidDataException">A block has wrong bytes.</exception>
    public void Serve(SimulatedRequest request)
    {
        _clock.Milliseconds = request.Timestamp;
        var hashes = Array.ConvertAll(request.Chain, HashOf);
        var store = _disked.Blocks;
        var facts = new RequestFacts(request.TokensPerBlock);
        var found = 0;
        while (found < hashes.Length && IsHere(hashes[found]))
            found++;
        var id = store.BeginRequest(default, default, hashes.AsSpan(0, found), facts);
        var hits = 0;
        while (hits < found && TryRead(hashes, hits, id, request.Chain[hits]))
            hits++;
        MissedTokens += Math.Max(0, request.Tokens - (hits * request.TokensPerBlock));
        if (hits < hashes.Length)
            Store(request, hashes, hits, facts);
        if (_hints && request.Hint is { } hint)
            store.Tell(default, hashes, hint);
    }

    public void Dispose() => _disked.Dispose();

    private bool IsHere(BlockHash hash) =>
        new BlockKey(default, hash) is var key && (_disked.Blocks.Contains(key) || _disked.Tier?.Has(key) == true);

    private bool TryRead(BlockHash[] hashes, int index, long request, int block)
    {
        var key = new BlockKey(default, hashes[index]);
        var began = Stopwatch.GetTimestamp();
        using var inMemory = _disked.Blocks.TryLease(key, request);
        using var read = inMemory is null ? _disked.Tier?.Fetch(default, hashes.AsSpan(index), ReadAhead, request) : null;
        if ((inMemory ?? read) is not { } lease)
            return false;
        if (BinaryPrimitives.ReadInt32LittleEndian(lease.Bytes) != block || lease.FindDamage(new LayerRange(0, 1)) is not null)
            throw new InvalidDataException($"Block {block} of the trace has wrong bytes.");
        if (inMemory is not null)
            (MemoryHits, MemoryTime) = (MemoryHits + 1, MemoryTime + Stopwatch.GetElapsedTime(began));
        else
            (DiskHits, DiskTime) = (DiskHits + 1, DiskTime + Stopwatch.GetElapsedTime(began));
        return true;
    }

    private void Store(SimulatedRequest request, BlockHash[] hashes, int first, RequestFacts facts)
    {
        var store = _disked.Blocks;
        var parent = first == 0 ? default : hashes[first - 1];
        var id = store.BeginRequest(default, parent, hashes.AsSpan(first), facts);
        for (var i = first; i < hashes.Length; i++)
        {
            var key = new BlockKey(default, hashes[i]);
            if (store.TryBegin(key, _layout, new BlockLineage(parent, i, 0, 0), replace: false, out var write, id) == BeginOutcome.Accepted)
            {
                using (write)
                {
                    BinaryPrimitives.WriteInt32LittleEndian(write!.Bytes, request.Chain[i]);
                    BlockChecksum.ComputeLayers(write.Bytes, _layout, write.Checksums);
                    store.Publish(key, write.Generation);
                }
            }

            parent = hashes[i];
            KeepUp();
        }
    }

    private void KeepUp()
    {
        if (_disked.Tier is not { } tier)
            return;
        var needed = 2 * Arena.RoundUp(_layout.BlockBytes);
        for (var wait = new SpinWait(); _disked.Blocks.Arena.FreeBytes < needed && !tier.GetStatus().IsLeftAlone; wait.SpinOnce())
        {
        }
    }

    private static BlockHash HashOf(int block)
    {
        Span<byte> hash = stackalloc byte[BlockHash.Size];
        hash.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(hash, block + 1);
        return new BlockHash(hash);
    }
}
