using KvCache.Caching;

namespace KvCache.Silo.Data;

/// <summary>A request that is answered with an error frame; the connection goes on unless <paramref name="fatal"/>.</summary>
internal sealed class ProtocolException(WireStatus status, string message, bool fatal = false) : Exception(message)
{
    public WireStatus Status { get; } = status;

    public bool Fatal { get; } = fatal;
}
