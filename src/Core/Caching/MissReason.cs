namespace KvCache;

/// <summary>Why a block could not be had.</summary>
public enum MissReason
{
    /// <summary>Nothing is missing.</summary>
    None,

    /// <summary>The block is not stored.</summary>
    Absent,

    /// <summary>The bytes did not match their checksums.</summary>
    Corrupt,

    /// <summary>The deadline passed.</summary>
    Deadline,

    /// <summary>No silo answers, or the circuit breaker is open.</summary>
    Unavailable,

    /// <summary>The silo broke the protocol, or refused this client (see the log).</summary>
    Refused,
}
