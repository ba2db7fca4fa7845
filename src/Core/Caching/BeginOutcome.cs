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
}
