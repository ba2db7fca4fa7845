namespace KvCache.Caching;

/// <summary>Outcome in a response's header.</summary>
internal enum WireStatus : byte
{
    /// <summary>Done.</summary>
    Ok = 0,

    /// <summary>The block is not stored (any more).</summary>
    Miss = 1,

    /// <summary>The client speaks no version that the server speaks. The connection ends.</summary>
    VersionMismatch = 16,

    /// <summary>Unknown tenant or wrong proof. The connection ends.</summary>
    AuthenticationFailed = 17,

    /// <summary>A frame is not what the protocol says. The connection ends.</summary>
    BadFrame = 18,

    /// <summary>The namespace belongs to another tenant.</summary>
    NamespaceForbidden = 19,

    /// <summary>The namespace handle was not opened on this connection.</summary>
    NamespaceUnknown = 20,

    /// <summary>A field of the request is out of its bounds, or sizes do not fit the layout.</summary>
    InvalidRequest = 21,

    /// <summary>A limit of the server would be exceeded (connections, namespaces, held bytes).</summary>
    LimitExceeded = 22,

    /// <summary>The silo is stopping. The connection ends.</summary>
    ShuttingDown = 23,

    /// <summary>The silo failed to answer; its log says why.</summary>
    Internal = 24,
}
