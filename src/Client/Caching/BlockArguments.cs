using KvCache.Engine.Wire;

namespace KvCache.Client.Caching;

/// <summary>Checks of arguments that every cache shares.</summary>
internal static class BlockArguments
{
    public static void CheckLoad(KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range)
    {
        CheckRun(prefix, firstBlock, destinations.Count);
        var layout = prefix.Namespace.Layout;
        if (!layout.Contains(range))
            throw new ArgumentException($"The layers {range} do not lie in a block of {layout.Layers} layers.", nameof(range));
        var bytes = layout.RangeBytes(range);
        for (var i = 0; i < destinations.Count; i++)
        {
            if (destinations[i].Length != bytes)
                throw new ArgumentException(
                    $"The memory for block {firstBlock + i} has {destinations[i].Length} bytes; layers {range} have {bytes}.",
                    nameof(destinations));
        }
    }

    public static void CheckStore(KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options)
    {
        CheckRun(prefix, firstBlock, blocks.Count);
        if (options is { Replicas: < 1 or > WireProtocol.MaxCopies })
            throw new ArgumentException(
                $"{options.Replicas} replicas were asked for; 1 to {WireProtocol.MaxCopies} are possible.", nameof(options));
        CheckLife(options?.TimeToLive, nameof(options));
        var bytes = prefix.Namespace.Layout.BlockBytes;
        for (var i = 0; i < blocks.Count; i++)
        {
            if (blocks[i].Length != bytes)
                throw new ArgumentException(
                    $"Block {firstBlock + i} has {blocks[i].Length} bytes; a block of this namespace has {bytes}.", nameof(blocks));
        }
    }

    public static void CheckLife(TimeSpan? timeToLive, string name)
    {
        if (timeToLive <= TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(
                name, timeToLive, "A life has to be longer than zero; null stands for as long as memory lasts.");
    }

    public static void CheckPin(TimeSpan duration)
    {
        if (duration < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(duration), duration, "A pin cannot be shorter than zero, which ends it.");
    }

    public static void CheckRun(KvPrefix prefix, int firstBlock, int count)
    {
        if (firstBlock < 0 || firstBlock > prefix.BlockCount - count)
            throw new ArgumentException(
                $"Blocks {firstBlock}..{firstBlock + count - 1} do not lie in a prefix of {prefix.BlockCount} blocks.", nameof(firstBlock));
    }
}
