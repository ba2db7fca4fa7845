namespace KvCache.Engine.Storage;

/// <summary>Why a block left the store.</summary>
internal enum RemovalReason
{
    /// <summary>Asked for by a client or a grain.</summary>
    Deleted,

    /// <summary>Its bytes no longer match its checksums.</summary>
    Corrupt,
}
