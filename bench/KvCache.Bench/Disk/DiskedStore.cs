using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.Bench.Disk;

/// <summary>A silo's block store with a silo's disk tier below it, in a folder of its own, which is removed.</summary>
internal sealed class DiskedStore : IDisposable
{
    private readonly DiskCounters _counters;

    /// <param name="path">Where the folder is made.</param>
    /// <param name="arenaBytes">Memory.</param>
    /// <param name="diskBytes">Most bytes of the files; 0 for no disk.</param>
    /// <param name="time">Clock.</param>
    /// <param name="eviction">Eviction policy.</param>
    public DiskedStore(string path, long arenaBytes, long diskBytes, TimeProvider time, string eviction)
    {
        Folder = System.IO.Directory.CreateDirectory(Path.Combine(path, $"kvcache-bench-{Guid.NewGuid():N}")).FullName;
        var arena = Arena.CreatePrivate(arenaBytes);
        arena.Commit();
        Directory = new BlockDirectory(new PrefixIndex(), new IndexLog(), new Tombstones());
        Blocks = new BlockStore(arena, new BlockStoreOptions { Eviction = eviction }, time, Directory);
        Directory.Attach(Blocks);
        _counters = new DiskCounters(time);
        if (diskBytes == 0)
            return;
        Tier = new DiskTier(
            Blocks, Directory, new RecentLives(Blocks, time), new LoneDiskTrust(),
            Options.Create(new DiskOptions
            {
                Path = Path.Combine(Folder, "tier"),
                Size = new ByteSize(diskBytes),
                SegmentSize = new ByteSize(Math.Clamp(diskBytes / 24, 4L << 20, 256L << 20)),
                MinBlockSize = new ByteSize(1),
                DrainTimeout = TimeSpan.FromHours(1),
                ReadTimeout = TimeSpan.FromMinutes(1),
            }),
            Options.Create(new ClusterOptions()), Options.Create(new RedisTierOptions()), _counters, time, NullLogger<DiskTier>.Instance);
        Tier.StartAsync(CancellationToken.None).GetAwaiter().GetResult();
    }

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>The store.</summary>
    public BlockStore Blocks { get; }

    /// <summary>What it tells.</summary>
    public BlockDirectory Directory { get; }

    /// <summary>The tier; null without a disk.</summary>
    public DiskTier? Tier { get; }

    public void Dispose()
    {
        Tier?.StopAsync(CancellationToken.None).GetAwaiter().GetResult();
        Tier?.Dispose();
        Blocks.Dispose();
        _counters.Dispose();
        System.IO.Directory.Delete(Folder, recursive: true);
    }
}
