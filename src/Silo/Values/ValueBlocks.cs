using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Telemetry;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Values;

/// <summary>
/// Values of protocols whose layout is their own: a block has one layer with the value's bytes and, behind it, one with a label that the
/// protocol needs to serve it (the key's own bytes, the integers of a header). An empty value is a block with a label alone.
/// </summary>
/// <remarks>
/// The value comes first, so that it begins at a page of the arena. The label goes wherever the block goes: to other silos, to Redis and
/// back.
/// A protocol with checksums of its own lets the reader find damage; these have none, so what leaves here is checked before.
/// </remarks>
internal sealed class ValueBlocks(
    BlockStore store,
    BlockWriter writer,
    BlockFetcher fetcher,
    ClusterView cluster,
    IClusterBlocks blocks,
    SiloCounters counters,
    DamageCheck damage)
{
    /// <summary>Most bytes of a value, whatever its label: 64 KiB less than the largest block.</summary>
    public const int MaxValueBytes = WireProtocol.MaxValueBytes;

    /// <summary>Most bytes of a label.</summary>
    public const int MaxLabelBytes = WireProtocol.MaxValueLabelBytes;

    /// <summary>Blocks of this silo: what it knows of the cluster.</summary>
    public BlockDirectory Directory => cluster.Directory;

    /// <summary>Shape of the namespaces of values. Every block brings its own, as values differ in size.</summary>
    public static KvLayout NamespaceLayout => WireProtocol.ValueLayout;

    /// <summary>Reserves memory for a value.</summary>
    /// <param name="key">Name of the block.</param>
    /// <param name="valueBytes">Bytes of the value, 0 to <see cref="MaxValueBytes"/>.</param>
    /// <param name="label">The label, 1 to <see cref="MaxLabelBytes"/> bytes.</param>
    /// <param name="kind">What the value is to its protocol.</param>
    public ValueWrite Begin(BlockKey key, int valueBytes, ReadOnlySpan<byte> label, ValueKind kind = ValueKind.Bytes)
    {
        var layout = valueBytes == 0
            ? KvLayout.Opaque(label.Length, (int)kind)
            : KvLayout.Opaque([0, valueBytes, valueBytes + label.Length], (int)kind);
        return new ValueWrite(
            writer, counters, writer.Begin(key, layout, default, new BlockTerms(Replace: true), CancellationToken.None), valueBytes, label);
    }

    /// <summary>A lease on a value, wherever in the cluster it lies; null when nobody has it or its bytes are damaged. Counts a hit or a
    /// miss.</summary>
    /// <param name="key">Name of the block.</param>
    /// <param name="checks">Whether its bytes are checked here: not for readers who check them themselves.</param>
    public BlockLease? Find(BlockKey key, bool checks = true)
    {
        if (fetcher.Fetch(key.Namespace, [key.Hash]) is not { } lease)
        {
            counters.MissAbsent(store.Accounts.Of(key.Namespace));
            return null;
        }

        if (!checks || !damage.DropIfDamaged(lease, lease.Layout.AllLayers))
        {
            counters.Hit(store.Accounts.Of(key.Namespace), lease.Layout.TokensPerBlock);
            return lease;
        }

        counters.MissCorrupt();
        lease.Dispose();
        return null;
    }

    /// <summary>Bytes of a value.</summary>
    public static ReadOnlySpan<byte> ValueOf(BlockLease lease) => lease.Bytes[..LengthOf(lease.Layout)];

    /// <summary>What a value is to its protocol.</summary>
    public static ValueKind KindOf(BlockLease lease) => (ValueKind)lease.Layout.TokensPerBlock;

    /// <summary>CRC-32 of the value's bytes.</summary>
    public static uint ChecksumOf(BlockLease lease) => lease.Layout.Layers > 1 ? lease.Checksums[0] : 0;

    /// <summary>The label.</summary>
    public static ReadOnlySpan<byte> LabelOf(BlockLease lease) => lease.Bytes[LengthOf(lease.Layout)..];

    /// <summary>Length of a value, when its life ends, and what it is; null when nobody has it. No use of it, where it is here.</summary>
    public (int Length, DateTimeOffset? ExpiresAt, ValueKind Kind)? Peek(BlockKey key)
    {
        if (store.Peek(key) is { } here)
            return (LengthOf(here.Layout), here.ExpiresAt, (ValueKind)here.Layout.TokensPerBlock);
        using var lease = fetcher.Fetch(key.Namespace, [key.Hash]);
        return lease is null ? null : (LengthOf(lease.Layout), lease.ExpiresAt, KindOf(lease));
    }

    /// <summary>Number of the write of a value, and the bytes that it takes in the arena; zeros when nobody has it. No use of it, where it
    /// is here.</summary>
    public (ulong Generation, long ArenaBytes) Identify(BlockKey key)
    {
        using var lease = store.TryHold(key) ?? fetcher.Fetch(key.Namespace, [key.Hash]);
        return lease is null ? default : (lease.Generation, lease.ArenaBytes);
    }

    /// <summary>Keeps a value from eviction for so long, wherever it is. Blocks the thread.</summary>
    /// <returns>False when nobody has it, or pins would take more than their share.</returns>
    public bool Pin(BlockKey key, TimeSpan duration) => blocks.PinAsync(key, duration).AsTask().GetAwaiter().GetResult();

    /// <summary>Whether a value of this silo is kept from eviction.</summary>
    public bool IsPinned(BlockKey key) => store.IsPinned(key);

    /// <summary>Whether somebody has a value. No use of it.</summary>
    public bool Exists(BlockKey key)
    {
        var mask = 0UL;
        return store.Contains(key) || cluster.Match(key.Namespace, [key.Hash], new Span<ulong>(ref mask)) > 0;
    }

    /// <summary>Copies the label of a value of this silo. No use of it.</summary>
    /// <returns>Its length; 0 when this silo does not have the value.</returns>
    public int CopyLabel(BlockKey key, Span<byte> destination) => store.CopyLayer(key, fromEnd: 1, destination);

    /// <summary>Deletes values everywhere. Blocks the thread.</summary>
    public ItemOutcome[] Delete(IReadOnlyList<BlockKey> keys) => blocks.DeleteAsync(keys).AsTask().GetAwaiter().GetResult();

    /// <summary>Sets the life of a value from now on, everywhere. Blocks the thread.</summary>
    public ItemOutcome SetTimeToLive(BlockKey key, TimeSpan timeToLive) =>
        blocks.SetTimeToLiveAsync([key], timeToLive).AsTask().GetAwaiter().GetResult()[0];

    /// <summary>What the tenant of a namespace has in the store, and has used of it.</summary>
    public TenantStatistics StatisticsOf(NamespaceId ns) => store.GetStatistics(store.Accounts.Of(ns));

    /// <summary>Bytes of the arena.</summary>
    public long Capacity => store.Arena.Capacity;

    private static int LengthOf(KvLayout layout) => layout.LayerOffset(layout.Layers - 1);
}
