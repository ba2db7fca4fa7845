namespace KvCache.Bench.Raw;

/// <summary>The stream sockets of one host.</summary>
internal enum RawTransport
{
    Tcp,
    Unix,
}
