using KvCache.Bench.Transfer;
using KvCache.Client;
using KvCache.Client.SharedMemory;
using KvCache.Engine.Storage;
using KvCache.Silo.Connections;

namespace KvCache.Bench.Silos;

/// <summary>How a block is read in the silo's memory.</summary>
internal enum SharedRead
{
    /// <summary>Leased once, then only copied: what nobody can be faster than.</summary>
    CopyOnly,

    /// <summary>Through the client's cache of leases, copied.</summary>
    Kept,

    /// <summary>Through the client's cache of leases, copied and verified.</summary>
    Verified,

    /// <summary>A lease from the silo for every request, copied.</summary>
    Asked,
}

/// <summary>Reads the same blocks again and again out of the silo's mapped arena.</summary>
internal sealed class SharedGetLane : SiloLane
{
    private const int KeptLeases = 4096;

    private readonly LaneBuffers _lane;
    private readonly SharedRead _read;
    private readonly int _length;
    private readonly SiloMemory _memory;
    private readonly List<LeasedBlock> _blocks = [];

    public SharedGetLane(BenchSilo silo, TransferCase transfer, LaneBuffers lane, SharedRead read)
        : base(silo, "unix", transfer)
    {
        _lane = lane;
        _read = read;
        _length = transfer.BlockLength;
        _memory = new SiloMemory(
            read == SharedRead.Asked ? TimeSpan.Zero : TimeSpan.FromSeconds(1), KeptLeases, verify: false, TimeProvider.System);
        NewHashes();
        Put([.. Enumerable.Range(0, transfer.Batch)
            .Select(i => (ReadOnlyMemory<byte>)Memory.WarmMemory.Block(lane.Source, i, transfer.BlockLength))]);
        if (read == SharedRead.CopyOnly)
            Lease();
    }

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            if (_read != SharedRead.CopyOnly)
                Lease();
            for (var block = 0; block < _blocks.Count; block++)
            {
                if (!_blocks[block]
                    .CopyTo(Namespace.Layout.AllLayers, _lane.Target.Slice((long)block * _length, _length), _read == SharedRead.Verified))
                    throw new IOException("A block of the benchmark is damaged.");
            }

            if (_read == SharedRead.CopyOnly)
                continue;
            _memory.Return(_blocks);
            _blocks.Clear();
        }
    }

    public override void Dispose()
    {
        _memory.Return(_blocks);
        _memory.ReleaseAll(Connection);
        Connection.Delete(Namespace, Hashes);
        base.Dispose();
    }

    private void Lease()
    {
        _memory.Lease(Connection, Namespace, Hashes, localOnly: true, _blocks);
        if (_blocks.Count != Hashes.Length)
            throw new IOException("The silo did not lease a block of the benchmark.");
    }
}

/// <summary>Stores new blocks with every request through a segment that the silo copies.</summary>
internal sealed class SharedPutLane : SiloLane
{
    private readonly LaneBuffers _lane;
    private readonly SharedArena _segment;
    private readonly int _length;

    public SharedPutLane(BenchSilo silo, TransferCase transfer, LaneBuffers lane)
        : base(silo, "unix", transfer)
    {
        _lane = lane;
        _length = transfer.BlockLength;
        var offer = Connection.MapArena(transfer.RequestBytes);
        _segment = SharedArena.Open(offer.SegmentPath, offer.SegmentBytes, writable: true);
    }

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            NewHashes();
            for (var block = 0; block < Hashes.Length; block++)
                _lane.Source.Slice((long)block * _length, _length).CopyTo(_segment.Write((long)block * _length, _length));
            if (Array.Exists(
                Connection.PutMapped(Namespace, Hashes, default, 0, 0, new StoreOptions()).Outcomes, outcome =>
                outcome != PutOutcome.Stored))
                throw new IOException("The silo refused a block of the benchmark.");
        }
    }

    public override void Dispose()
    {
        _segment.Dispose();
        base.Dispose();
    }
}
