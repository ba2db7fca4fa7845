using System.Numerics;

namespace KvCache.Eviction;

/// <summary>
/// The class of a block: what is known of it that tells when it is used again, packed into a number. The parts, from the coarsest to the
/// finest, are how the answer of its last request ended, how much that request appended, how often the block was touched (or, touched
/// once, how many requests made its chain), how long the chain had rested before, and whose it is. What its client asks for stands beside
/// them: nothing is learned from it.
/// </summary>
internal static class ReuseClass
{
    /// <summary>How many parts there are, the whole included: each level below borrows from the one above.</summary>
    public const int Levels = 6;

    private const int EndShift = 0, SuffixShift = 2, KindShift = 6, GapShift = 10, TenantShift = 13;
    private const int EndMask = 3 << EndShift, SuffixMask = 15 << SuffixShift;
    private const int KeepShift = 32;
    private const int PartialKind = 8, MostTenants = 1 << 17;

    /// <summary>The class of a block that a request touches.</summary>
    /// <param name="touches">Touches of the block, this one included.</param>
    /// <param name="level">Requests that had appended to its chain when it was new.</param>
    /// <param name="partial">Whether it is a new block with fewer tokens than a block has.</param>
    /// <param name="keep">What is asked for it.</param>
    /// <param name="use">The request.</param>
    public static long Of(int touches, int level, bool partial, KeepTerms keep, in ChainUse use)
    {
        var kind = partial ? PartialKind : touches > 1 ? KindOfTouches(touches) : Math.Clamp(level, 1, 4) - 1;
        return With(
            ((int)use.End << EndShift)
                | (SuffixOf(use.SuffixTokens) << SuffixShift)
                | (kind << KindShift)
                | (GapOf(use.Gap) << GapShift)
                | (Math.Min(use.Tenant + 1, MostTenants) << TenantShift),
            keep);
    }

    /// <summary>The same class, when more is known of its request.</summary>
    public static long With(long key, in ChainUse use)
    {
        if (use.End != AnswerEnd.Unknown)
            key = (key & ~(long)EndMask) | ((long)use.End << EndShift);
        if (use.SuffixTokens >= 0)
            key = (key & ~(long)SuffixMask) | ((long)SuffixOf(use.SuffixTokens) << SuffixShift);
        return use.Keep.IsTold ? With(key, use.Keep) : key;
    }

    /// <summary>What its client asks for a block of a class.</summary>
    public static KeepTerms KeepOf(long key) => KeepTerms.Unpack((byte)(key >> KeepShift));

    /// <summary>The class of which is known only what is asked for it.</summary>
    public static long OfKeepAlone(long key) => key >> KeepShift << KeepShift;

    /// <summary>What is known of a class by itself.</summary>
    public static int OfFacts(long key) => (int)key;

    /// <summary>The same class of nobody's.</summary>
    public static long OfAnyTenant(long key) => key & ~((long)uint.MaxValue >> TenantShift << TenantShift);

    /// <summary>The same facts, however the answer ended.</summary>
    public static int OfAnyEnd(int facts) => facts & ~EndMask;

    /// <summary>
    /// The part of a class that its ancestor on a level has in common with it: 0 is all there is, the last level the class itself.
    /// </summary>
    public static int Ancestor(int key, int level) => level switch
    {
        0 => 0,
        1 => key & ((1 << SuffixShift) - 1),
        2 => key & ((1 << KindShift) - 1),
        3 => key & ((1 << GapShift) - 1),
        4 => key & ((1 << TenantShift) - 1),
        _ => key,
    };

    private static long With(long key, KeepTerms keep) => (uint)key | ((long)keep.Packed << KeepShift);

    // 2, 3 and 4, 5 to 8, more.
    private static int KindOfTouches(int touches) => 4 + Math.Min(3, BitOperations.Log2((uint)touches - 1));

    // Below 256 tokens, then one for each doubling.
    private static int SuffixOf(int tokens) => tokens < 256 ? 0 : Math.Min(7, BitOperations.Log2((uint)tokens) - 7);

    // None, then below 4 seconds, and one for each factor of four: loops of tools, people who read along, people who think, come back
    // tomorrow.
    private static int GapOf(long gap) => gap < 0 ? 0 : 1 + Math.Clamp((BitOperations.Log2((ulong)gap + 1) - 10) / 2, 0, 6);
}
