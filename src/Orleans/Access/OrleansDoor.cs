namespace KvCache.Orleans.Access;

/// <summary>
/// Which of Orleans' ports a proof is for: it is part of what is signed, so that a proof for one port is none for another.
/// </summary>
internal enum OrleansDoor : byte
{
    /// <summary>Between silos; the cluster's secret is proven.</summary>
    Silo = 1,

    /// <summary>For clients; a tenant's secret is proven.</summary>
    Gateway = 2,
}

/// <summary>Whoever was asked did not take the proof, or could not give one itself.</summary>
/// <param name="message">Who, and what can be done.</param>
internal sealed class DoorRefusedException(string message) : IOException(message);
