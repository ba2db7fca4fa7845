namespace KvCache;

/// <summary>What became of one block of a put.</summary>
public enum PutOutcome : byte
{
    /// <summary>The block is stored and visible.</summary>
    Stored = 0,

    /// <summary>The block had been stored before.</summary>
    AlreadyStored = 1,

    /// <summary>Another client is writing it now.</summary>
    BeingWritten = 2,

    /// <summary>The arena is full of leased, pinned and unfinished blocks, and of what comes before these.</summary>
    NoMemory = 3,

    /// <summary>The bytes did not match the checksums that came with them.</summary>
    Corrupt = 4,

    /// <summary>The write was revoked: the block was deleted meanwhile, or the write took too long.</summary>
    Revoked = 5,

    /// <summary>The block is larger than the silo's arena.</summary>
    TooLarge = 6,

    /// <summary>The silo failed; its log says why.</summary>
    Failed = 7,

    /// <summary>
    /// There is room only in place of what the block comes behind, or that is not stored: a chain that does not fit keeps its head.
    /// </summary>
    NoRoomInPrefix = 8,

    /// <summary>The tenant has all the memory that it may have.</summary>
    NoRoomInShare = 9,

    /// <summary>All that could go for it is worth more, as far as the silo has learned of when blocks are used again.</summary>
    NotWorthRoom = 10,
}
