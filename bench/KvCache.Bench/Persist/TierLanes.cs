using System.Security.Cryptography;
using KvCache.Bench.Transfer;
using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Silo.Tiers;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.Bench.Persist;

/// <summary>
/// What the lanes of the Redis tier have in common: a store of their own with a few blocks, and a tier with one connection each way.
/// Two blocks are under way at a time, so that one waits while another moves, as they do in a silo.
/// </summary>
internal abstract class TierLane : ITransferLane
{
    /// <summary>Blocks under way at a time.</summary>
    public const int Depth = 2;

    private const int Layers = 32;

    protected TierLane(string connection, int socketBuffer, TransferCase transfer, LaneBuffers buffers)
    {
        var layerBytes = transfer.BlockLength / Layers;
        Layout = KvLayout.Opaque(
            [.. Enumerable.Range(0, Layers).Select(layer => layer * layerBytes), transfer.BlockLength], tokensPerBlock: 256);
        var arena = Arena.CreatePrivate(Math.Max(64L << 20, (Depth + 2) * Arena.RoundUp(transfer.BlockLength)));
        arena.Commit();
        Store = new BlockStore(arena);
        var options = new RedisTierOptions
        {
            ConnectionString = connection,
            KeyPrefix = $"kvcache-bench-{Guid.NewGuid():N}",
            MaxQueuedBytes = new ByteSize(arena.Capacity),
            Readers = 1,
            SocketBuffer = new ByteSize(socketBuffer),
        };
        Tier = new RedisTier(
            Store, new RecentLives(Store, TimeProvider.System), Options.Create(options), Counters, TimeProvider.System,
            NullLogger<RedisTier>.Instance);
        Tier.StartAsync(CancellationToken.None).GetAwaiter().GetResult();
        for (var i = 0; i < Depth; i++)
            Put(Keys[i], buffers.Source.Slice(0, transfer.BlockLength));
    }

    protected BlockKey[] Keys { get; } =
        [.. Enumerable.Range(0, Depth)
        .Select(_ => new BlockKey(new NamespaceId(new TenantId(1), 2), new BlockHash(RandomNumberGenerator.GetBytes(BlockHash.Size))))];

    protected KvLayout Layout { get; }

    protected BlockStore Store { get; }

    protected RedisTier Tier { get; }

    private RedisTierCounters Counters { get; } = new();

    public abstract void Run(int requests);

    public virtual void Dispose()
    {
        Tier.DeleteAsync(Keys).GetAwaiter().GetResult();
        Tier.DisposeAsync().AsTask().GetAwaiter().GetResult();
        Store.Dispose();
        Counters.Dispose();
    }

    protected BlockLease Lease(BlockKey key) => Store.TryLease(key) ?? throw new IOException("The store lost a block of the benchmark.");

    private void Put(BlockKey key, ReadOnlySpan<byte> bytes)
    {
        using var write = Store.TryReserve(key, Layout, default) ?? throw new IOException("The arena of the benchmark is too small.");
        bytes.CopyTo(write.Bytes);
        for (var layer = 0; layer < Layout.Layers; layer++)
            write.Checksums[layer] = BlockChecksum.Compute(bytes.Slice(Layout.LayerOffset(layer), Layout.LayerBytes(layer)));
        Store.Publish(key, write.Generation);
    }
}

/// <summary>Writes blocks out of the arena to Redis, behind.</summary>
internal sealed class PersistLane(string connection, int socketBuffer, TransferCase transfer, LaneBuffers buffers)
    : TierLane(connection, socketBuffer, transfer, buffers)
{
    private readonly SemaphoreSlim _slots = new(Depth);
    private PersistOutcome _failure;

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            _slots.Wait();
            Tier.Enqueue(Lease(Keys[i % Depth]), Completed);
        }

        for (var i = 0; i < Depth; i++)
            _slots.Wait();
        _slots.Release(Depth);
        if (_failure != PersistOutcome.Persisted)
            throw new IOException($"The tier did not write a block of the benchmark: {_failure}; {Tier.LastError}");
    }

    public override void Dispose()
    {
        base.Dispose();
        _slots.Dispose();
    }

    private void Completed(PersistOutcome outcome)
    {
        if (outcome != PersistOutcome.Persisted)
            _failure = outcome;
        _slots.Release();
    }
}

/// <summary>Reads blocks from Redis into the arena, verified, and takes a lease on each.</summary>
internal sealed class PromoteLane : TierLane
{
    private readonly Task<PromoteResult>?[] _running = new Task<PromoteResult>?[Depth];

    public PromoteLane(string connection, int socketBuffer, TransferCase transfer, LaneBuffers buffers)
        : base(connection, socketBuffer, transfer, buffers)
    {
        foreach (var key in Keys)
        {
            var written = new TaskCompletionSource<PersistOutcome>();
            Tier.Enqueue(Lease(key), written.SetResult);
            if (written.Task.GetAwaiter().GetResult() is var outcome and not PersistOutcome.Persisted)
                throw new IOException($"The tier did not write a block of the benchmark: {outcome}; {Tier.LastError}");
        }
    }

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            End(i % Depth);
            Store.Remove(Keys[i % Depth]);
            _running[i % Depth] = Tier.PromoteAsync(Keys[i % Depth], Layout);
        }

        for (var i = 0; i < Depth; i++)
            End(i);
    }

    private void End(int index)
    {
        if (_running[index] is not { } running)
            return;
        _running[index] = null;
        var (outcome, lease) = running.GetAwaiter().GetResult();
        if (lease is null || outcome != PromoteOutcome.Promoted)
            throw new IOException($"The tier did not read a block of the benchmark: {outcome}; {Tier.LastError}");
        lease.Dispose();
    }
}
