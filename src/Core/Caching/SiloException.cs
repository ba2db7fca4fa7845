using KvCache.Caching;


namespace KvCache;

/// <summary>The silo answered a request with an error.</summary>
public sealed class SiloException : Exception
{
    /// <summary>Creates the exception.</summary>
    public SiloException()
    {
    }

    /// <summary>Creates the exception with the silo's sentence.</summary>
    public SiloException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with a sentence and its cause.</summary>
    public SiloException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the exception from an error frame.</summary>
    /// <param name="status">What kind of error.</param>
    /// <param name="message">The silo's sentence.</param>
    internal SiloException(WireStatus status, string message)
        : base($"The silo answered: {message} (status {(int)status}, {status})") => Status = status;

    internal SiloException(WireStatus status, string message, Exception innerException)
        : base(message, innerException) => Status = status;

    /// <summary>What kind of error.</summary>
    internal WireStatus Status { get; }

    /// <summary>Whether the client is configured wrongly, so that trying again cannot help.</summary>
    public bool IsConfiguration => Status is WireStatus.VersionMismatch or WireStatus.AuthenticationFailed or WireStatus.NamespaceForbidden;
}
