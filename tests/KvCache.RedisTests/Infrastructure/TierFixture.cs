using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.RedisTests.Infrastructure;

/// <summary>A block store and a tier over it, with short limits.</summary>
internal sealed class TierFixture : IAsyncDisposable
{
    public static readonly NamespaceId Namespace = new(new TenantId(0x1122334455667788), 0x99AABBCCDDEEFF00);

    public TierFixture(string connection, int arenaMib = 64, Action<RedisTierOptions>? configure = null, TimeProvider? time = null)
    {
        Options = new RedisTierOptions
        {
            ConnectionString = connection,
            ConnectTimeout = TimeSpan.FromSeconds(1),
            CommandTimeout = TimeSpan.FromSeconds(1),
            WriteTimeout = TimeSpan.FromSeconds(5),
            ReadTimeout = TimeSpan.FromSeconds(5),
            BreakerDelay = TimeSpan.FromMilliseconds(50),
            DrainTimeout = TimeSpan.Zero,
            MaxQueueTime = TimeSpan.FromSeconds(10),
        };
        configure?.Invoke(Options);
        Time = time ??= TimeProvider.System;
        var arena = Arena.CreatePrivate((long)arenaMib << 20);
        arena.Commit();
        Store = new BlockStore(arena, time: time);
        Lives = new RecentLives(Store, time);
        Tier = new RedisTier(
            Store, Lives, Microsoft.Extensions.Options.Options.Create(Options), Counters, time, NullLogger<RedisTier>.Instance);
        Tier.StartAsync(CancellationToken.None).GetAwaiter().GetResult();
    }

    public RedisTierOptions Options { get; }

    public TimeProvider Time { get; }

    public RedisTierCounters Counters { get; } = new();

    public BlockStore Store { get; }

    public RecentLives Lives { get; }

    public RedisTier Tier { get; }

    public RedisKeySpace Names => new(Options.KeyPrefix);

    public static BlockKey Key(int number) => new(Namespace, new BlockHash(SHA256.HashData(BitConverter.GetBytes(number))));

    public static KvLayout LayoutOf(int bytes, int layers = 4) =>
        KvLayout.Opaque([.. Enumerable.Range(0, layers).Select(layer => layer * (bytes / layers)), bytes], 256);

    /// <summary>Fills a block with bytes that no other block has.</summary>
    public static void Fill(Span<byte> block, BlockKey key)
    {
        Span<byte> seed = stackalloc byte[BlockHash.Size];
        key.Hash.CopyTo(seed);
        var state = MemoryMarshal.Read<ulong>(seed) | 1;
        var words = MemoryMarshal.Cast<byte, ulong>(block);
        for (var i = 0; i < words.Length; i++)
            words[i] = (state + (ulong)i) * 0x9E3779B97F4A7C15;
        block[(words.Length * sizeof(ulong))..].Fill((byte)state);
    }

    public static void AssertContent(BlockLease lease)
    {
        var expected = new byte[lease.Layout.BlockBytes];
        Fill(expected, lease.Key);
        Assert.True(lease.Bytes.SequenceEqual(expected), "The bytes are not those of the block.");
        for (var layer = 0; layer < lease.Layout.Layers; layer++)
            Assert.Equal(BlockChecksum.Compute(lease.Layers(new LayerRange(layer, 1))), lease.Checksums[layer]);
    }

    /// <summary>Memory and Redis count in different units; a promotion may also be a little older than its lease.</summary>
    public static void AssertLife(DateTimeOffset end, BlockLease? lease) =>
        Assert.InRange((end - lease!.ExpiresAt!.Value).Duration(), TimeSpan.Zero, TimeSpan.FromSeconds(2));

    /// <summary>Stores a block in memory and leases it.</summary>
    public BlockLease Put(
        BlockKey key, KvLayout layout, BlockLineage lineage = default, DateTimeOffset? expiresAt = null,
        BlockDurability durability = default)
    {
        using (var write = Store.TryReserve(key, layout, lineage) ?? throw new InvalidOperationException("The arena of the test is full."))
        {
            Fill(write.Bytes, key);
            for (var layer = 0; layer < layout.Layers; layer++)
                write.Checksums[layer] = BlockChecksum.Compute(write.Bytes.Slice(layout.LayerOffset(layer), layout.LayerBytes(layer)));
            Assert.Equal(PublishOutcome.Published, Store.Publish(key, write.Generation, expiresAt - DateTimeOffset.UtcNow, durability));
        }

        return Store.TryLease(key)!;
    }

    /// <summary>Stores a block in Redis and nowhere else.</summary>
    public async Task<ulong> PersistAsync(BlockKey key, KvLayout layout, DateTimeOffset? expiresAt = null)
    {
        var lease = Put(key, layout, expiresAt: expiresAt);
        var generation = lease.Generation;
        Assert.Equal(PersistOutcome.Persisted, await WriteAsync(lease));
        Assert.True(Store.Remove(key));
        return generation;
    }

    /// <summary>Writes a block behind, and waits for the outcome.</summary>
    public Task<PersistOutcome> WriteAsync(BlockLease lease)
    {
        var outcome = new TaskCompletionSource<PersistOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        Tier.Enqueue(lease, outcome.SetResult);
        return outcome.Task;
    }

    /// <summary>Promotes a block and only tells how that went.</summary>
    public async Task<PromoteOutcome> PromoteAsync(BlockKey key, KvLayout? layout)
    {
        var result = await Tier.PromoteAsync(key, layout, TestContext.Current.CancellationToken);
        result.Lease?.Dispose();
        return result.Outcome;
    }

    public byte[] Name(BlockKey key)
    {
        var name = new byte[Names.KeyBytes];
        Names.Write(key, name);
        return name;
    }

    public async ValueTask DisposeAsync()
    {
        await Tier.DisposeAsync();
        Store.Dispose();
        Counters.Dispose();
    }
}
