using System.Security.Cryptography;
using KvCache.Bench.Memory;
using KvCache.Checksums;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.Bench.Disk;

/// <summary>A store with a disk below it, and one plain file beside, on the same disk and with the same open flags.</summary>
internal sealed class DiskBench : IDisposable
{
    private const int Layers = 16;
    private const int RawBytes = 8 << 20;
    private const int ReadAhead = 4; // as a silo's sessions do
    private const int Readers = 4;

    private readonly string _folder;
    private readonly BlockKey[] _keys;
    private readonly BlockHash[] _hashes;
    private readonly KvLayout _layout;
    private readonly WarmBuffer _source;
    private readonly BlockDirectory _directory;
    private readonly BlockStore _store;
    private readonly DiskCounters _counters = new(TimeProvider.System);
    private readonly DiskTier _tier;
    private readonly bool _isDirect;

    public DiskBench(string path, int blockBytes, long bytes)
    {
        _folder = Directory.CreateDirectory(Path.Combine(path, $"kvcache-bench-{Guid.NewGuid():N}")).FullName;
        var count = (int)Math.Max(1, bytes / blockBytes);
        Bytes = (long)count * blockBytes;
        var ns = new NamespaceId(new TenantId(1), 2);
        _hashes = [.. Enumerable.Range(0, count).Select(_ => new BlockHash(RandomNumberGenerator.GetBytes(BlockHash.Size)))];
        _keys = [.. _hashes.Select(hash => new BlockKey(ns, hash))];
        _layout = KvLayout.Opaque([.. Enumerable.Range(0, Layers + 1).Select(layer => layer * (blockBytes / Layers))], tokensPerBlock: 256);
        _source = WarmBuffer.Private(Math.Max(blockBytes, RawBytes) * (long)Readers);
        var arena = Arena.CreatePrivate((Bytes * 5 / 4) + (64L << 20));
        arena.Commit();
        _directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones());
        _store = new BlockStore(arena, observer: _directory);
        _directory.Attach(_store);
        _tier = new DiskTier(
            _store, _directory, new RecentLives(_store, TimeProvider.System), new LoneDiskTrust(),
            Options.Create(new DiskOptions
            {
                Path = Path.Combine(_folder, "tier"),
                Size = new ByteSize(6 * Bytes),
                DrainTimeout = TimeSpan.FromHours(1),
                ReadTimeout = TimeSpan.FromMinutes(1),
                Readers = Readers,
            }),
            Options.Create(new ClusterOptions()), Options.Create(new RedisTierOptions()), _counters, TimeProvider.System,
            NullLogger<DiskTier>.Instance);
        _tier.StartAsync(CancellationToken.None).GetAwaiter().GetResult();
        using var probe = DirectFile.Create(Raw, DiskSegment.PageBytes, direct: true);
        _isDirect = probe.IsDirect;
    }

    /// <summary>Bytes of all blocks.</summary>
    public long Bytes { get; }

    private string Raw => Path.Combine(_folder, "raw");

    /// <summary>All blocks are in memory, and none is on the disk.</summary>
    public void PrepareDemotion()
    {
        foreach (var key in _keys)
        {
            _directory.Delete(key, _store.NewGeneration());
            using var write = _store.TryReserve(key, _layout, default) ?? throw new IOException("The arena of the benchmark is too small.");
            _source.Slice(0, _layout.BlockBytes).CopyTo(write.Bytes);
            BlockChecksum.ComputeLayers(write.Bytes, _layout, write.Checksums);
            if (_store.Publish(key, write.Generation) != PublishOutcome.Published)
                throw new IOException("A block of the benchmark could not be stored.");
        }
    }

    /// <summary>Writes all blocks, and waits until the disk has them.</summary>
    public void Demote()
    {
        _tier.DrainAsync().GetAwaiter().GetResult();
        if (!_keys.All(_tier.Has))
            throw new IOException($"The tier did not write all blocks: {_tier.GetStatus().LastError}");
    }

    /// <summary>All blocks are on the disk, and none is in memory.</summary>
    public void PreparePromotion()
    {
        if (!_keys.All(_tier.Has))
        {
            PrepareDemotion();
            Demote();
        }

        _store.Clear();
    }

    /// <summary>Reads all blocks, one after the other with a few ahead, verified, as for one reader.</summary>
    public void Promote()
    {
        for (var i = 0; i < _hashes.Length; i++)
        {
            using var lease = _store.TryLease(_keys[i]) ?? _tier.Fetch(_keys[i].Namespace, _hashes.AsSpan(i), ReadAhead, 0);
            if (lease is null)
                throw new IOException($"The tier did not read a block: {_tier.GetStatus().LastError}");
        }
    }

    /// <summary>Writes one file from its begin to its end, and waits until the disk has it.</summary>
    public void WriteRaw()
    {
        File.Delete(Raw);
        using var file = DirectFile.Create(Raw, Bytes, _isDirect);
        for (long at = 0; at < Bytes; at += RawBytes)
            file.Write([Piece(0, at)], at);
        file.Finish(DiskSegment.RoundUp(Bytes));
    }

    /// <summary>There is a file of all bytes.</summary>
    public void PrepareRaw()
    {
        if (new FileInfo(Raw).Length < Bytes)
            WriteRaw();
    }

    /// <summary>Reads the file with as many threads as the tier has.</summary>
    public void ReadRaw()
    {
        using var file = DirectFile.Open(Raw, _isDirect);
        long next = -RawBytes;
        Parallel.For(0, Readers, new ParallelOptions { MaxDegreeOfParallelism = Readers }, reader =>
        {
            for (long at; (at = Interlocked.Add(ref next, RawBytes)) < Bytes;)
                file.Read([Piece(reader, at)], at);
        });
    }

    public void Dispose()
    {
        _tier.StopAsync(CancellationToken.None).GetAwaiter().GetResult();
        _tier.Dispose();
        _store.Dispose();
        _counters.Dispose();
        _source.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private UnmanagedPiece Piece(int reader, long at) => UnmanagedPiece.Of(
        _source.Slice((long)reader * RawBytes, (int)DiskSegment.RoundUp(Math.Min(RawBytes, Bytes - at))));
}
