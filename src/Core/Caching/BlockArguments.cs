namespace KvCache.Caching;

/// <summary>Checks of arguments that every cache shares: the table of docs/client.md.</summary>
internal static class BlockArguments
{
    public static LayerRange CheckLoad(KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(destinations);
        CheckRun(prefix, firstBlock, destinations.Count);
        var layout = prefix.Namespace.Layout;
        var range = layers ?? layout.AllLayers;
        if (!layout.Contains(range))
            throw new ArgumentException($"The layers {range} do not lie in a block of {layout.Layers} layers.", nameof(layers));
        var bytes = layout.RangeBytes(range);
        for (var i = 0; i < destinations.Count; i++)
        {
            if (destinations[i].Length != bytes)
                throw new ArgumentException(
                    $"The memory for block {firstBlock + i} has {destinations[i].Length} bytes; layers {range} have {bytes}.",
                    nameof(destinations));
        }

        return range;
    }

    public static void CheckStore(KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(blocks);
        CheckRun(prefix, firstBlock, blocks.Count);
        if (options is { Replicas: < 1 or > StoreOptions.MaxReplicas })
            throw new ArgumentOutOfRangeException(
                nameof(options), options.Replicas, $"So many replicas were asked for; 1 to {StoreOptions.MaxReplicas} are possible.");
        CheckLife(options?.TimeToLive, nameof(options));
        var bytes = prefix.Namespace.Layout.BlockBytes;
        for (var i = 0; i < blocks.Count; i++)
        {
            if (blocks[i].Length != bytes)
                throw new ArgumentException(
                    $"Block {firstBlock + i} has {blocks[i].Length} bytes; a block of this namespace has {bytes}.", nameof(blocks));
        }
    }

    public static void CheckMatch(RankGroup group, PrefixChain chain, TimeSpan hold)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentNullException.ThrowIfNull(chain);
        CheckHold(hold);
        if (group.Namespaces[0].Layout.TokensPerBlock != chain.TokensPerBlock)
            throw new ArgumentException(
                $"The chain has blocks of {chain.TokensPerBlock} tokens, and the namespaces blocks of "
                + $"{group.Namespaces[0].Layout.TokensPerBlock}.", nameof(chain));
    }

    public static void CheckMatch(KvPrefix prefix, TimeSpan hold)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        CheckHold(hold);
    }

    public static void CheckLife(TimeSpan? timeToLive, string name)
    {
        if (timeToLive <= TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(
                name, timeToLive, "A life has to be longer than zero; null stands for as long as memory lasts.");
    }

    public static void CheckExpire(KvPrefix prefix, TimeSpan? timeToLive)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        CheckLife(timeToLive, nameof(timeToLive));
    }

    public static void CheckPin(KvPrefix prefix, TimeSpan duration)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        if (duration < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(duration), duration, "A pin cannot be shorter than zero, which ends it.");
    }

    public static void CheckHint(KvPrefix prefix, CacheHint hint)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(hint);
    }

    public static void CheckRun(KvPrefix prefix, int firstBlock, int count)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        if (count < 0)
            throw new ArgumentOutOfRangeException(nameof(count), count, "A number of blocks cannot be less than zero.");
        if (firstBlock < 0 || firstBlock > prefix.BlockCount - count)
            throw new ArgumentOutOfRangeException(
                nameof(firstBlock), firstBlock,
                $"Blocks {firstBlock}..{firstBlock + count - 1} do not lie in a prefix of {prefix.BlockCount} blocks.");
    }

    private static void CheckHold(TimeSpan hold)
    {
        if (hold < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(
                nameof(hold), hold,
                "A hold cannot be shorter than zero, which only looks; TimeSpan.MaxValue holds as long as a cache does.");
    }
}
