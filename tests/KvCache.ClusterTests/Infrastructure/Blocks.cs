using KvCache.Orleans;
using TorchSharp;

namespace KvCache.ClusterTests.Infrastructure;

/// <summary>Namespaces, prefixes and tensors of tests.</summary>
internal static class Blocks
{
    private static int _nextToken;

    /// <summary>A block of 4 layers and 32 KiB.</summary>
    public static CacheNamespace Small { get; } =
        Namespace("small", KvLayout.Create(layers: 4, kvHeads: 2, headDim: 32, KvDataType.Float32, tokensPerBlock: 16));

    /// <summary>A block of 8 layers and 1 MiB; a layer is too large for a grain call.</summary>
    public static CacheNamespace Large { get; } =
        Namespace("large", KvLayout.Create(layers: 8, kvHeads: 8, headDim: 64, KvDataType.Float32, tokensPerBlock: 32));

    public static CacheNamespace Namespace(string model, KvLayout layout) => new() { Tenant = "default", Model = model, Layout = layout };

    /// <summary>Tokens of one block that no other test uses.</summary>
    public static int[] Tokens(CacheNamespace ns) =>
        [Interlocked.Increment(ref _nextToken), .. Enumerable.Range(0, ns.Layout.TokensPerBlock - 1)];

    /// <summary>A prefix that no other test uses.</summary>
    public static KvPrefix Prefix(CacheNamespace ns, int blocks) =>
        KvPrefix.Of(ns, [.. Tokens(ns), .. Enumerable.Range(0, (blocks - 1) * ns.Layout.TokensPerBlock)]);

    public static BlockKey Key(this KvPrefix prefix, int block) => new(prefix.Namespace.Id, prefix.Chain.Hashes[block]);

    public static IPrefixGrain NewPrefix(this OneSilo silo, CacheNamespace ns) => silo.Grains.GetPrefix(ns, Tokens(ns));

    /// <summary>A tensor of one block with random values.</summary>
    public static torch.Tensor Tensor(CacheNamespace ns)
    {
        var layout = ns.Layout;
        return torch.randn([layout.Layers, layout.Parts, layout.TokensPerBlock, layout.KvHeads, layout.HeadDim]);
    }

    public static byte[] Bytes(CacheNamespace ns)
    {
        using var tensor = Tensor(ns);
        return tensor.bytes.ToArray();
    }

    public static WriteIntent Intent(CacheNamespace ns, TimeSpan? timeToLive = null) =>
        new() { Namespace = ns.Encoded.ToArray(), TimeToLive = timeToLive };
}
