namespace KvCache.UnitTests.Support;

internal static class Names
{
    /// <summary>Small blocks of two tokens and three layers of 16 bytes.</summary>
    public static CacheNamespace Namespace { get; } = new()
    {
        Tenant = "default",
        Model = "model",
        Layout = KvLayout.Create(layers: 3, kvHeads: 1, headDim: 1, KvDataType.Float32, tokensPerBlock: 2),
    };

    /// <summary>A prefix with a number of blocks, which no prefix of another seed shares.</summary>
    public static KvPrefix Prefix(int blocks, int seed = 0, CacheNamespace? ns = null)
    {
        ns ??= Namespace;
        var tokens = new int[blocks * ns.Layout.TokensPerBlock];
        tokens.AsSpan().Fill(seed);
        return KvPrefix.Of(ns, tokens);
    }
}
