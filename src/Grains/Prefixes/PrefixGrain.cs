using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Orleans;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;
using Orleans.Placement;

namespace KvCache.Grains.Prefixes;

/// <summary>
/// Authority over one block, which usually lies in this silo's store. The activation is cheap and goes after a minute; the block stays, and
/// the next activation is placed beside it.
/// </summary>
[PrefixPlacement, Immovable, GrainType(TypeName), CollectionAgeLimit(Minutes = 1)]
internal sealed partial class PrefixGrain(
    BlockStore store,
    IClusterBlocks cluster,
    ILocalSiloDetails silo,
    IDataPlaneAddresses addresses,
    IOptions<PrefixGrainOptions> options,
    TimeProvider time,
    PrefixDescriptorStore descriptors,
    ActivePrefixes active,
    DamageCheck damage)
    : Grain, IPrefixGrain
{
    private const string TypeName = "prefix";

    private readonly PrefixAuthority _authority = new(options.Value.WriteLimit);
    private BlockKey _key;
    private WriteIntent? _intent; // of the write that this grain reserved memory for
    private BlockWrite? _inlineWrite; // memory that this grain reserved itself
    private int _inlineBytes; // how much of it was written

    /// <summary>Type in grain ids.</summary>
    public static GrainType Type { get; } = GrainType.Create(TypeName);

    // A clock that is set back gives no writer more time.
    private TimeSpan Now => time.GetElapsedTime(0);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        var text = this.GetPrimaryKeyString();
        if (!BlockKey.TryParseGrainKey(text, out _key))
            throw new ArgumentException(
                $"'{text}' is not the key of a prefix grain; 32 hexadecimal digits, '/', 64 hexadecimal digits were expected "
                + "(BlockKey.ToGrainKey).");
        active.Add(GrainContext.GrainId, this);
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        active.Remove(GrainContext.GrainId, this);
        _inlineWrite?.Dispose();
        return Task.CompletedTask;
    }

    public async ValueTask<WriteGrant> BeginAsync(WriteIntent intent, CancellationToken cancellationToken)
    {
        // The last writer's silo is asked first: what has become visible there may not be in the index yet.
        var last = _authority.WriterSilo is { } writer ? await cluster.StateOfWriteAsync(writer, _key, _authority.Writer) : WriteState.Gone;
        var stored = !intent.Replace
            && (last == WriteState.Stored || store.Contains(_key) || await cluster.IsStoredElsewhereAsync(_key, cancellationToken));
        var now = Now;
        var outcome = _authority.MayBegin(stored, last == WriteState.Running, now);
        if (outcome != BeginOutcome.Accepted)
            return new WriteGrant(outcome, 0);
        await RevokeWriterAsync();
        DropInlineWrite(); // behind what is waited for: whoever calls says in a message's head whether calls may overlap
        var generation = intent.Generation;
        if (generation == 0)
        {
            outcome = Reserve(intent, out var write);
            if (write is null)
                return new WriteGrant(outcome, 0);
            _inlineWrite = write;
            _inlineBytes = 0;
            _intent = intent;
            generation = write.Generation;
        }

        _authority.Begin(intent.Silo ?? silo.SiloAddress, generation, now);
        return new WriteGrant(BeginOutcome.Accepted, generation);
    }

    public ValueTask<bool> WriteAsync(ulong generation, int offset, Immutable<byte[]> piece, CancellationToken cancellationToken)
    {
        var bytes = piece.Value;
        if (bytes.Length > options.Value.MaxInlineBytes)
            throw new ArgumentException(
                $"A piece has {bytes.Length} bytes; at most {options.Value.MaxInlineBytes} travel in a call. Use the data plane for more.",
                nameof(piece));
        if (_inlineWrite is not { } write || write.Generation != generation || !_authority.IsCurrent(generation, Now))
            return new(false);
        if (offset < 0 || offset > write.Layout.BlockBytes - bytes.Length)
            throw new ArgumentException(
                $"The piece {offset}+{bytes.Length} does not lie in the block of {write.Layout.BlockBytes} bytes.", nameof(offset));
        if (offset > _inlineBytes)
            throw new ArgumentException(
                $"The piece begins at {offset}, behind a gap; {_inlineBytes} bytes were written, and pieces come in order.",
                nameof(offset));
        bytes.CopyTo(write.Bytes[offset..]);
        _inlineBytes = Math.Max(_inlineBytes, offset + bytes.Length);
        return new(true);
    }

    public ValueTask<SealOutcome> SealAsync(ulong generation, CancellationToken cancellationToken)
    {
        if (_inlineWrite is not { } write || write.Generation != generation)
            return new(SealOutcome.Revoked);

        // Arena memory is not cleared: behind what was written lie the bytes of another block, perhaps another tenant's.
        var complete = _inlineBytes == write.Layout.BlockBytes;
        var inTime = _authority.IsCurrent(generation, Now);
        _authority.End();
        if (!complete || !inTime)
        {
            DropInlineWrite();
            return new(inTime ? SealOutcome.Incomplete : SealOutcome.Revoked);
        }

        BlockChecksum.ComputeLayers(write.Bytes, write.Layout, write.Checksums);
        _inlineWrite = null;
        var intent = _intent!;
        var durability = new BlockDurability(intent.Copies, intent.Persisted);
        switch (store.Publish(_key, generation, intent.TimeToLive, durability, intent.Replace))
        {
            case PublishOutcome.Published:
                cluster.Stored(_key, write.Generation, durability, intent.Replace);
                return new(SealOutcome.Sealed);
            case PublishOutcome.AlreadyStored:
                return new(SealOutcome.AlreadyStored);
            default:
                return new(SealOutcome.Revoked);
        }
    }

    public async ValueTask AbandonAsync(ulong generation, CancellationToken cancellationToken)
    {
        if (_authority.Writer == generation)
            await RevokeWriterAsync();
        if (_inlineWrite?.Generation == generation)
            DropInlineWrite();
    }

    public ValueTask<BlockDescription?> DescribeAsync(CancellationToken cancellationToken) => new(store.Describe(_key) is { } block
        ? new BlockDescription(block.Generation, block.Layout.Layers, block.Layout.BlockBytes)
        : null);

    public async ValueTask<LayerReading?> ReadLayersAsync(int firstLayer, int layerCount, CancellationToken cancellationToken)
    {
        using var lease = await cluster.FetchAsync(_key, cancellationToken);
        if (lease is null)
            return null;
        var range = new LayerRange(firstLayer, layerCount);
        if (!lease.Layout.Contains(range))
            throw new ArgumentOutOfRangeException(
                nameof(firstLayer), $"The layers {range} do not lie in the block of {lease.Layout.Layers} layers.");
        var small = lease.Layout.RangeBytes(range) <= options.Value.MaxInlineBytes;
        if (small && damage.DropIfDamaged(lease, range))
            return null;

        return new LayerReading
        {
            Generation = lease.Generation,
            Checksums = lease.Checksums.Slice(range.First, range.Count).ToArray(),
            LayerBytes = Enumerable.Range(range.First, range.Count).Select(lease.Layout.LayerBytes).ToArray(),
            Inline = small ? lease.Layers(range).ToArray() : null,
            Endpoints = small ? [] : addresses.Endpoints,
        };
    }

    public async ValueTask<bool> PinAsync(TimeSpan duration, CancellationToken cancellationToken)
    {
        if (!await cluster.PinAsync(_key, duration, cancellationToken))
            return false;
        if (!cluster.OutlivesSilos(_key))
            return true; // a pin that nobody could read again is not written
        var now = time.GetUtcNow();
        var until = duration <= TimeSpan.Zero
            ? default
            : duration < DateTimeOffset.MaxValue - now ? now + duration : DateTimeOffset.MaxValue;
        await descriptors.UpdateAsync(this.GetGrainId(), descriptor => descriptor.PinnedUntil = until);
        return true;
    }

    public async ValueTask<bool> SetTimeToLiveAsync(TimeSpan timeToLive, CancellationToken cancellationToken)
    {
        var outcome = (await cluster.SetTimeToLiveAsync([_key], timeToLive, cancellationToken))[0];
        return outcome == ItemOutcome.Unconfirmed
            ? throw new TimeoutException(
                $"The life of block {_key.ToGrainKey()} is not confirmed by every silo and Redis; there the block keeps the one it has.")
            : outcome == ItemOutcome.Done;
    }

    public async ValueTask<bool> DeleteAsync(CancellationToken cancellationToken)
    {
        // A running write is older than the deletion's stamp, so that it cannot become visible behind it; its memory comes back at once.
        await RevokeWriterAsync();
        DropInlineWrite();
        var outcome = (await cluster.DeleteAsync([_key], cancellationToken))[0];
        await descriptors.ClearAsync(this.GetGrainId());
        return outcome == ItemOutcome.Unconfirmed
            ? throw new TimeoutException(
                $"The deletion of block {_key.ToGrainKey()} is not confirmed by every silo and Redis; it goes on in the background.")
            : outcome == ItemOutcome.Done;
    }

    private ValueTask RevokeWriterAsync()
    {
        if (_authority.WriterSilo is not { } writer)
            return default;
        var generation = _authority.Writer;
        _authority.End();
        return cluster.RevokeAsync(writer, _key, generation);
    }

    private BeginOutcome Reserve(WriteIntent intent, out BlockWrite? write)
    {
        if (intent.Namespace is null)
            throw new ArgumentException(
                "A write intent names a reservation (Generation) or a namespace; both are missing.", nameof(intent));
        var ns = CacheNamespace.Decode(intent.Namespace);
        if (ns.Id != _key.Namespace)
            throw new ArgumentException(
                $"The intent's namespace has the id {ns.Id}; this grain belongs to {_key.Namespace}.", nameof(intent));
        var parent = intent.Parent is { } bytes ? new BlockHash(bytes) : default;
        return store.TryBegin(_key, ns.Layout, new BlockLineage(parent, intent.Depth, 0, 0), intent.Replace, out write);
    }

    private void DropInlineWrite()
    {
        _inlineWrite?.Dispose();
        _inlineWrite = null;
    }
}
