namespace KvCache.Silo.Resp;

/// <summary>The bytes are not a request: the peer is told, in Redis' words, and the connection ends, as nobody knows where the next request
/// begins.</summary>
internal sealed class RespProtocolException(string message) : Exception("Protocol error: " + message);
