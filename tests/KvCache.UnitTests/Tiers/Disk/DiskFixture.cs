using System.Buffers.Binary;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;
using KvCache.Testing;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Xunit;

namespace KvCache.UnitTests.Tiers.Disk;

/// <summary>A store of 16 blocks with a disk below it, in a folder that outlives it.</summary>
internal sealed class DiskFixture : IDisposable
{
    public const int BlockPages = 4, ArenaBlocks = 16;

    private readonly DiskCounters _counters;
    private readonly RecentLives _lives;
    private bool _ended;

    public DiskFixture(
        string folder, Action<DiskOptions>? set = null, ManualTime? time = null, string? sealFile = null, IDiskTrust? trust = null)
    {
        Folder = folder;
        Time = time ?? new ManualTime();
        var options = new DiskOptions
        {
            Path = folder,
            Size = ByteSize.MiB(16),
            SegmentSize = ByteSize.MiB(1),
            Owner = "test",
            Encrypt = sealFile is not null,
        };
        set?.Invoke(options);
        Directory = new BlockDirectory(new PrefixIndex(), new IndexLog(time: Time), new Tombstones(time: Time));
        Store = new BlockStore(
            Memory.Arena(ArenaBlocks * BlockPages), new BlockStoreOptions { Eviction = "lru/t" }, Time, Directory);
        Directory.Attach(Store);
        _counters = new DiskCounters(Time);
        _lives = new RecentLives(Store, Time);
        Tier = new DiskTier(
            Store, Directory, _lives, trust ?? new LoneDiskTrust(), Options.Create(options), Options.Create(new ClusterOptions()),
            Options.Create(new RedisTierOptions { SealFile = sealFile ?? "" }), _counters, Time, NullLogger<DiskTier>.Instance);
        Tier.StartAsync(default).GetAwaiter().GetResult();
    }

    public string Folder { get; }

    public ManualTime Time { get; }

    public BlockStore Store { get; }

    public BlockDirectory Directory { get; }

    public DiskTier Tier { get; }

    public static async Task<DiskFixture> StartAsync(
        string folder, Action<DiskOptions>? set = null, ManualTime? time = null, string? sealFile = null, IDiskTrust? trust = null)
    {
        var fixture = new DiskFixture(folder, set, time, sealFile, trust);
        if (trust is null)
            await Eventually.TrueAsync("what was found can be read", () => fixture.Tier.GetStatus().IsTrusted);
        return fixture;
    }

    public static BlockKey Key(int number) => StoreFixture.Key(number);

    /// <summary>Stores a block whose content is told by its key and a version.</summary>
    public ulong Put(int key, int version = 0, TimeSpan? life = null, int? parent = null)
    {
        var lineage = new BlockLineage(parent is { } number ? Key(number).Hash : default, 0, 0, 0);
        var begun = Store.TryBegin(Key(key), StoreFixture.Layout(BlockPages), lineage, replace: version > 0, out var write, insists: true);
        Assert.Equal(BeginOutcome.Accepted, begun);
        using (write)
        {
            Fill(write!.Bytes, key, version);
            Checksums.BlockChecksum.ComputeLayers(write.Bytes, write.Layout, write.Checksums);
            Assert.Equal(PublishOutcome.Published, Store.Publish(write.Key, write.Generation, life, replace: version > 0));
            if (version > 0)
                Assert.True(Tier.Wait());
            return write.Generation;
        }
    }

    /// <summary>Stores blocks, and waits behind each until the disk has kept up: nothing is evicted that it has not.</summary>
    public async Task PutAllAsync(IEnumerable<int> keys)
    {
        foreach (var key in keys)
        {
            Put(key);
            await KeepUpAsync();
        }
    }

    public Task KeepUpAsync() =>
        SpinWait.SpinUntil(() => Store.Arena.FreeBytes >= 2 * BlockPages * Arena.PageBytes, Eventually.Bound)
            ? Task.CompletedTask
            : throw new TimeoutException("The disk does not keep up.");

    /// <summary>The version of a block that can be read; null for a miss. Wrong bytes fail the test.</summary>
    public int? Get(int key)
    {
        using var lease = Store.TryLease(Key(key)) ?? Tier.Fetch(Key(key).Namespace, [Key(key).Hash], 0, 0);
        if (lease is null)
            return null;
        var version = BinaryPrimitives.ReadInt32LittleEndian(lease.Bytes[4..]);
        var expected = new byte[lease.Bytes.Length];
        Fill(expected, key, version);
        Assert.True(lease.Bytes.SequenceEqual(expected), $"Block {key} has wrong bytes.");
        return version;
    }

    public int[] Readable(IEnumerable<int> keys) => [.. keys.Where(key => Get(key) is not null)];

    public bool IsHeld(int key) => (Directory.Index.HoldersOf(Key(key)) & 1) != 0;

    public void Delete(int key)
    {
        Directory.Delete(Key(key), Store.NewGeneration());
        Assert.True(Directory.IsWritten());
        Assert.False(IsHeld(key));
    }

    public bool SetLife(int key, TimeSpan life) => (_lives.Set(Key(key), life, Store.NewGeneration()) | Tier.SetLife(Key(key), life)) && Tier.Wait();

    /// <summary>What is on the disk at this moment, as a kill would leave it.</summary>
    public string Copy()
    {
        var copy = System.IO.Directory.CreateTempSubdirectory("kvcache-disk-").FullName;
        foreach (var file in System.IO.Directory.GetFiles(Folder).Where(file => !file.EndsWith(".lock", StringComparison.Ordinal)
            && !file.EndsWith(".new", StringComparison.Ordinal)))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        return copy;
    }

    public async Task EndAsync(bool drains = true)
    {
        if (drains)
            await Tier.DrainAsync();
        await Tier.StopAsync(default);
        Dispose();
    }

    public void Dispose()
    {
        if (_ended)
            return;
        _ended = true;
        Tier.Dispose();
        _counters.Dispose();
        Store.Dispose();
    }

    private static void Fill(Span<byte> bytes, int key, int version)
    {
        new Random((key * 397) ^ version).NextBytes(bytes);
        BinaryPrimitives.WriteInt32LittleEndian(bytes, key);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], version);
    }
}
