namespace KvCache;

/// <summary>
/// Bytes that came from outside (a socket, a store, a file) are not what their format says. The message tells what was
/// wrong and what was expected. Callers treat it as a miss or close the connection it came from.
/// </summary>
public sealed class KvFormatException : Exception
{
    /// <summary>Creates the exception.</summary>
    public KvFormatException()
    {
    }

    /// <summary>Creates the exception with what was wrong and what was expected.</summary>
    public KvFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with what was wrong, what was expected and its cause.</summary>
    public KvFormatException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
