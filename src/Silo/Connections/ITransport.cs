namespace KvCache.Silo.Connections;

/// <summary>The bytes of one connection, both ways.</summary>
internal interface ITransport
{
    /// <summary>Waits for some bytes.</summary>
    /// <returns>Their number; 0 when the peer sends no more.</returns>
    int Receive(Span<byte> destination);

    /// <summary>
    /// Says how many bytes are on their way for certain, before they are received: for many, waking up for each piece can be avoided. Said
    /// again before every receive, and with 0 when they are all there, or what follows them would be waited for in vain.
    /// </summary>
    void Expect(int bytes);

    /// <summary>Sends three runs of bytes, any of which may be empty.</summary>
    void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third);
}
