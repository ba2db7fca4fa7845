namespace KvCache.Caching;

/// <summary>Checks of arguments that every cache shares: the table of docs/client.md.</summary>
internal static class BlockArguments
{
    public static LayerRange CheckLoad(KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers)
    {
        CheckPrefix(prefix);
        ArgumentNullException.ThrowIfNull(destinations);
        CheckRun(prefix, firstBlock, destinations.Count);
        var range = CheckLayers(prefix.Namespace.Layout, layers);
        var bytes = prefix.Namespace.Layout.RangeBytes(range);
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
        CheckPrefix(prefix);
        ArgumentNullException.ThrowIfNull(blocks);
        CheckRun(prefix, firstBlock, blocks.Count);
        if (options is not null)
            CheckOptions(options);
        var bytes = prefix.Namespace.Layout.BlockBytes;
        for (var i = 0; i < blocks.Count; i++)
        {
            if (blocks[i].Length != bytes)
                throw new ArgumentException(
                    $"Block {firstBlock + i} has {blocks[i].Length} bytes; a block of this namespace has {bytes}.", nameof(blocks));
        }
    }

    public static void CheckOptions(StoreOptions options)
    {
        if (options.Replicas is < 1 or > StoreOptions.MaxReplicas)
            throw new ArgumentOutOfRangeException(
                nameof(options), options.Replicas, $"So many replicas were asked for; 1 to {StoreOptions.MaxReplicas} are possible.");
        if (options.SuffixTokens < 0)
            throw new ArgumentOutOfRangeException(nameof(options), options.SuffixTokens, "A number of tokens cannot be less than zero.");
        if (!Enum.IsDefined(options.Durability))
            throw new ArgumentOutOfRangeException(
                nameof(options), options.Durability, $"{string.Join(" or ", Enum.GetNames<Durability>())} was expected.");
        CheckLife(options.TimeToLive, nameof(options));
    }

    public static LayerRange CheckLayers(KvLayout layout, LayerRange? layers)
    {
        var range = layers ?? layout.AllLayers;
        return layout.Contains(range)
            ? range
            : throw new ArgumentException($"The layers {range} do not lie in a block of {layout.Layers} layers.", nameof(layers));
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
        CheckPrefix(prefix);
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
        CheckPrefix(prefix);
        CheckLife(timeToLive, nameof(timeToLive));
    }

    public static void CheckPin(KvPrefix prefix, TimeSpan duration)
    {
        CheckPrefix(prefix);
        if (duration < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(duration), duration, "A pin cannot be shorter than zero, which ends it.");
    }

    public static void CheckHint(KvPrefix prefix, CacheHint hint)
    {
        CheckPrefix(prefix);
        ArgumentNullException.ThrowIfNull(hint);
    }

    /// <summary>Checks that the namespace can be, and that the chain is cut as its blocks are.</summary>
    public static void CheckPrefix(KvPrefix prefix)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        CheckNamespace(prefix.Namespace, nameof(prefix));
        if (prefix.Chain.TokensPerBlock != prefix.Namespace.Layout.TokensPerBlock)
            throw new ArgumentException(
                $"The chain has blocks of {prefix.Chain.TokensPerBlock} tokens, and the namespace blocks of "
                + $"{prefix.Namespace.Layout.TokensPerBlock}.", nameof(prefix));
    }

    public static void CheckNamespace(CacheNamespace ns, string name)
    {
        ArgumentNullException.ThrowIfNull(ns, name);
        try
        {
            _ = ns.Id; // computed once, of all fields
        }
        catch (ArgumentException e)
        {
            throw new ArgumentException(e.Message, name, e);
        }
    }

    public static void CheckRun(KvPrefix prefix, int firstBlock, int count)
    {
        CheckPrefix(prefix);
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
