using System.Runtime.InteropServices;

namespace KvCache.Bench.Lookup;

/// <summary>
/// The blocks of <c>lookup</c>: prompts of 128k tokens. They follow from their number, so that the silo's process and the one that asks
/// agree without exchanging them.
/// </summary>
internal sealed class LookupChains
{
    /// <summary>Tokens of a prompt.</summary>
    public const int Tokens = 128 * 1024;

    /// <summary>Tokens of a block.</summary>
    public const int TokensPerBlock = 256;

    /// <summary>Blocks of a prompt.</summary>
    public const int Length = Tokens / TokensPerBlock;

    /// <summary>Namespace of all blocks.</summary>
    public static CacheNamespace Namespace { get; } = new()
    {
        Tenant = "default",
        Model = "bench-lookup",
        Layout = KvLayout.Opaque([0, 4096], TokensPerBlock),
    };

    private readonly BlockHash[] _hashes;

    private LookupChains(int blocks, ulong seed) => _hashes = Create(blocks, seed);

    /// <summary>All blocks, prompt after prompt.</summary>
    public ReadOnlySpan<BlockHash> All => _hashes;

    /// <summary>Number of prompts.</summary>
    public int Count => _hashes.Length / Length;

    /// <summary>
    /// The prompt of a call. Calls go through all prompts before one comes again: the same one over and over would be found in the
    /// processor's caches, which no real lookup is.
    /// </summary>
    public ReadOnlySpan<BlockHash> OfCall(int call) => _hashes.AsSpan((int)((uint)call % (uint)Count) * Length, Length);

    /// <summary>The prompts that are stored: so many blocks, rounded up to whole prompts.</summary>
    public static LookupChains Stored(int blocks) => new(blocks, seed: 1);

    /// <summary>Some that are not.</summary>
    public static LookupChains Absent() => new(64 * Length, seed: 2);

    private static BlockHash[] Create(int blocks, ulong seed)
    {
        var hashes = new BlockHash[(blocks + Length - 1) / Length * Length];
        var state = seed << 32;
        foreach (ref var word in MemoryMarshal.Cast<BlockHash, ulong>(hashes.AsSpan()))
        {
            // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
            state += 0x9E3779B97F4A7C15UL;
            var mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9UL;
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBUL;
            word = mixed ^ (mixed >> 31);
        }

        return hashes;
    }
}
