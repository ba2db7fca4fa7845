using System.Threading.Channels;
using KvCache.Binary;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.Silo.Supervision;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Writes what a prefix grain keeps of a block, behind the block's payload. It is done here and not by the grain: an activation for every
/// persisted
/// block would cost more than the write.
/// </summary>
internal sealed class DescriptorWriter(PrefixDescriptorStore descriptors, IGrainFactory grains) : ILoop
{
    private const int MaxQueued = 16_384;
    private const int WritesAtOnce = 8;

    private readonly Channel<Persisted> _queue =
        Channel.CreateBounded<Persisted>(
        new BoundedChannelOptions(MaxQueued) { SingleReader = true, FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>Redis has confirmed the payload of a block. When too many wait, the descriptor is dropped: it is advice.</summary>
    public void Write(BlockKey key, ulong generation, KvLayout layout, DateTimeOffset? expiresAt) =>
        _queue.Writer.TryWrite(new Persisted(key, generation, layout, expiresAt));

    public Task RunAsync(CancellationToken stoppingToken) => Parallel.ForEachAsync(
        _queue.Reader.ReadAllAsync(stoppingToken),
        new ParallelOptions { MaxDegreeOfParallelism = WritesAtOnce, CancellationToken = stoppingToken },
        async (block, _) => await descriptors.UpdateAsync(grains.GetPrefix(block.Key).GetGrainId(), block.Apply));

    private sealed record Persisted(BlockKey Key, ulong Generation, KvLayout Layout, DateTimeOffset? ExpiresAt)
    {
        public void Apply(PrefixDescriptor descriptor)
        {
            if (descriptor.Generation != Generation)
                descriptor.PinnedUntil = default;
            var layout = new WireWriter(64);
            Layout.WriteTo(layout);
            descriptor.Generation = Generation;
            descriptor.Bytes = Layout.BlockBytes;
            descriptor.Layout = layout.Written.ToArray();
            descriptor.ExpiresAt = ExpiresAt;
            descriptor.Persisted = true;
        }
    }
}
