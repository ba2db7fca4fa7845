using System.Security.Cryptography;
using KvCache.Bench.Memory;
using KvCache.Bench.Transfer;
using KvCache.Engine.Wire;
using KvCache.Silo.Connections;

namespace KvCache.Bench.Silos;

/// <summary>What the lanes of a silo have in common: a connection, a namespace for the block size, and blocks of their own.</summary>
internal abstract class SiloLane : ITransferLane
{
    // Layers as in a 32-layer model; a block of 256 KiB then has layers of 8 KiB.
    private const int Layers = 32;

    protected SiloLane(BenchSilo silo, string transport, TransferCase transfer, int rank = 0, int ranks = 1)
    {
        Connection = silo.Connect(transport);
        var layerBytes = transfer.BlockLength / Layers;
        int[] offsets = [.. Enumerable.Range(0, Layers).Select(layer => layer * layerBytes), transfer.BlockLength];
        Namespace = new CacheNamespace
        {
            Tenant = "default",
            Model = "bench",
            TensorParallelRank = rank,
            TensorParallelSize = ranks,
            Layout = KvLayout.Opaque(offsets, tokensPerBlock: 256)
        };
        Hashes = new BlockHash[transfer.Batch];
    }

    protected BlockConnection Connection { get; }

    protected CacheNamespace Namespace { get; }

    protected BlockHash[] Hashes { get; }

    public abstract void Run(int requests);

    public virtual void Dispose() => Connection.Dispose();

    protected void NewHashes()
    {
        Span<byte> random = stackalloc byte[BlockHash.Size];
        for (var i = 0; i < Hashes.Length; i++)
        {
            RandomNumberGenerator.Fill(random);
            Hashes[i] = new BlockHash(random);
        }
    }

    protected void Put(IReadOnlyList<ReadOnlyMemory<byte>> blocks)
    {
        var outcomes = Connection.Put(Namespace, Hashes, default, 0, blocks, 0, new StoreOptions()).Outcomes;
        if (Array.Find(outcomes, outcome => outcome != PutOutcome.Stored) is var refused and not PutOutcome.Stored)
            throw new IOException($"The silo refused a block of the benchmark: {refused}.");
    }
}

/// <summary>Reads the same blocks again and again, verified.</summary>
internal sealed class SiloGetLane : SiloLane
{
    private readonly Memory<byte>[] _targets;

    public SiloGetLane(BenchSilo silo, string transport, TransferCase transfer, LaneBuffers lane)
        : base(silo, transport, transfer)
    {
        _targets = [.. Enumerable.Range(0, transfer.Batch).Select(i => WarmMemory.Block(lane.Target, i, transfer.BlockLength))];
        NewHashes();
        Put([.. Enumerable.Range(0, transfer.Batch)
            .Select(i => (ReadOnlyMemory<byte>)WarmMemory.Block(lane.Source, i, transfer.BlockLength))]);

        // The lanes that put would evict them.
        if (Connection.Pin(Namespace, Hashes, TimeSpan.FromHours(1)) != Hashes.Length)
            throw new IOException("The blocks to be read could not be pinned: the arena of the benchmark is too small.");
    }

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            var delivered = 0;
            var reason = Connection.Get(Namespace, Hashes, Namespace.Layout.AllLayers, _targets, 0, localOnly: true, ref delivered);
            if (delivered != Hashes.Length)
                throw new IOException($"The silo missed a block of the benchmark: {reason}.");
        }
    }

    public override void Dispose()
    {
        Connection.Delete(Namespace, Hashes);
        base.Dispose();
    }
}

/// <summary>Stores new blocks with every request; the arena is full after a while, so that each also evicts.</summary>
internal sealed class SiloPutLane : SiloLane
{
    private readonly ReadOnlyMemory<byte>[] _sources;

    public SiloPutLane(BenchSilo silo, string transport, TransferCase transfer, LaneBuffers lane, int rank = 0, int ranks = 1)
        : base(silo, transport, transfer, rank, ranks) =>
        _sources = [.. Enumerable.Range(0, transfer.Batch)
            .Select(i => (ReadOnlyMemory<byte>)WarmMemory.Block(lane.Source, i, transfer.BlockLength))];

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            NewHashes();
            Put(_sources);
        }
    }
}
