using KvCache.Chaos.Load;

namespace KvCache.Chaos.Checkers;

/// <summary>Bytes that somebody got, compared one by one with what they have to be.</summary>
/// <param name="Entry">Of which entry.</param>
/// <param name="Block">Which block of it.</param>
/// <param name="Version">The version whose bytes they are; 0 where they are no version's.</param>
/// <param name="Before">What was known before the read began.</param>
/// <param name="Began">When it began.</param>
/// <param name="Door">How it was read.</param>
internal readonly record struct BlockRead(Entry Entry, int Block, int Version, EntryState Before, long Began, string Door)
{
    public override string ToString() => $"entry {Entry.Number}, block {Block}, version {Version}, by {Door}";
}

/// <summary>A call that an engine may make.</summary>
/// <param name="Kind">What was called.</param>
/// <param name="Began">When it began.</param>
/// <param name="Ended">When it ended.</param>
/// <param name="Reason">What it said.</param>
/// <param name="Exception">What it threw, which it must not.</param>
internal readonly record struct CacheCall(string Kind, long Began, long Ended, MissReason Reason, Exception? Exception)
{
    /// <summary>Whether the cache could not answer, as opposed to not having the block.</summary>
    public bool HasFailed => Exception is not null || Reason is MissReason.Deadline or MissReason.Unavailable or MissReason.Refused;
}

/// <summary>What a silo uses.</summary>
/// <param name="Silo">Which.</param>
/// <param name="ArenaUsed">Bytes of its arena that are used.</param>
/// <param name="ArenaBytes">Bytes that it may use.</param>
/// <param name="ResidentBytes">Bytes of the whole process.</param>
internal readonly record struct SiloSample(int Silo, long ArenaUsed, long ArenaBytes, long ResidentBytes);
