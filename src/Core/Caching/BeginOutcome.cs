namespace KvCache;

/// <summary>Whether a write may begin.</summary>
public enum BeginOutcome
{
    /// <summary>The caller is the writer.</summary>
    Accepted,

    /// <summary>The block is stored; a live store, or Redis, has confirmed it.</summary>
    AlreadyStored,

    /// <summary>Somebody else is writing it.</summary>
    BeingWritten,

    /// <summary>There is no memory that could be evicted for it.</summary>
    NoMemory,

    /// <summary>There is room only in place of what the block comes behind, or that is not stored: a chain that does not fit keeps its
    /// head.</summary>
    NoRoomInPrefix,

    /// <summary>Its tenant has all the memory that it may have.</summary>
    NoRoomInShare,

    /// <summary>All that could go for it is worth more, as far as the silo has learned.</summary>
    NotWorthRoom,
}
