namespace KvCache.Storage;

/// <summary>Why a block left the store.</summary>
public enum RemovalReason
{
    /// <summary>Asked for by a client or a grain.</summary>
    Deleted,

    /// <summary>Its bytes no longer match its checksums.</summary>
    Corrupt,
}
