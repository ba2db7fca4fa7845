using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers;

/// <summary>What became of a block that was to be written to Redis.</summary>
internal enum PersistOutcome
{
    /// <summary>Redis confirmed it.</summary>
    Persisted,

    /// <summary>Too many bytes were waiting already.</summary>
    QueueFull,

    /// <summary>It waited too long, or Redis was away.</summary>
    Unavailable,

    /// <summary>Redis has no memory left and its policy does not evict.</summary>
    ServerFull,

    /// <summary>Redis answered with another error.</summary>
    Refused,

    /// <summary>It was deleted before it was written, or while.</summary>
    Deleted,

    /// <summary>Its life ended before it was written.</summary>
    Expired,

    /// <summary>Redis takes no values of that size (512 MiB).</summary>
    TooLarge,

    /// <summary>The tier was stopped.</summary>
    Stopped,
}

/// <summary>Why a block was read from Redis into the arena, or not. Everything but the first two is a miss.</summary>
internal enum PromoteOutcome
{
    /// <summary>It was read, verified and published.</summary>
    Promoted,

    /// <summary>It was in the store already.</summary>
    AlreadyStored,

    /// <summary>Redis does not have it.</summary>
    Absent,

    /// <summary>Its life has ended.</summary>
    Expired,

    /// <summary>The value is not a payload.</summary>
    Malformed,

    /// <summary>The payload is of another version: of silos that are newer or older than this one, which may still need it.</summary>
    OtherVersion,

    /// <summary>A checksum is wrong.</summary>
    Corrupt,

    /// <summary>It is not what was sealed with the key that it names: somebody else wrote it, or changed it.</summary>
    Forged,

    /// <summary>It is not sealed where keys are configured, or sealed with a key that is not known here; silos with other keys may still
    /// need it.</summary>
    OtherKey,

    /// <summary>The value is shorter or longer than it says.</summary>
    Truncated,

    /// <summary>The payload is that of another block.</summary>
    Foreign,

    /// <summary>The payload has another layout than the caller expects.</summary>
    OtherLayout,

    /// <summary>The arena has no room that could be made free.</summary>
    NoMemory,

    /// <summary>The block was deleted meanwhile.</summary>
    Deleted,

    /// <summary>Too many promotions were waiting already.</summary>
    Busy,

    /// <summary>It took too long.</summary>
    Deadline,

    /// <summary>Redis is away, or refused.</summary>
    Unavailable,
}

/// <summary>Answer to a promotion.</summary>
/// <param name="Outcome">What happened.</param>
/// <param name="Lease">The block, when it is in the store now; the receiver disposes it.</param>
internal readonly record struct PromoteResult(PromoteOutcome Outcome, BlockLease? Lease);

/// <summary>A step of a scan.</summary>
/// <param name="Keys">Blocks found since the step before. One may come twice. Valid during the call.</param>
/// <param name="Found">Keys found so far.</param>
/// <param name="DatabaseKeys">Keys that the database had at the start, those of others included: the scan looks at so many.</param>
internal readonly record struct RedisScanPage(IReadOnlyList<BlockKey> Keys, long Found, long DatabaseKeys);
