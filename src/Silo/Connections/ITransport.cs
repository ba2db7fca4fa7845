namespace KvCache.Silo;

/// <summary>The bytes of one connection, both ways.</summary>
internal interface ITransport
{
    /// <summary>Waits for some bytes.</summary>
    /// <returns>Their number; 0 when the peer sends no more.</returns>
    int Receive(Span<byte> destination);

    /// <summary>Sends three runs of bytes, any of which may be empty.</summary>
    void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third);
}
