namespace KvCache.Chaos.Load;

/// <summary>Chains of several sizes of blocks, by their number.</summary>
internal sealed class Shapes
{
    private const int TokensPerBlock = 16;

    // Small blocks make many reads; larger ones have layers and take more than one packet.
    private static readonly (int Blocks, KvLayout Layout)[] Sizes =
    [
        (8, KvLayout.Opaque(4 << 10, TokensPerBlock)),
        (8, KvLayout.Opaque([0, 4 << 10, 6 << 10, 12 << 10, 16 << 10], TokensPerBlock)),
        (4, KvLayout.Opaque([.. Enumerable.Range(0, 9).Select(i => i * (8 << 10))], TokensPerBlock)),
    ];

    private readonly long _seed;
    private readonly CacheNamespace[] _namespaces;

    public Shapes(long seed)
    {
        _seed = seed;
        _namespaces = [.. Sizes.Select(size => new CacheNamespace { Tenant = Worlds.World.Tenant, Model = "chaos", Layout = size.Layout })];
    }

    public Chain ChainOf(int number) => ChainOf(number, (number % 10) switch { < 6 => 0, < 9 => 1, _ => 2 });

    private Chain ChainOf(int number, int size)
    {
        int[] tokens = [(int)_seed, number, .. Enumerable.Range(0, (Sizes[size].Blocks * TokensPerBlock) - 2)];
        return new Chain(number, KvPrefix.Of(_namespaces[size], tokens));
    }
}
