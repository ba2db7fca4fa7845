using System.Net.Sockets;

namespace KvCache.Engine.Wire;

/// <summary>
/// The bytes of one connected stream socket, both ways, plain or encrypted: blocking calls, straight out of, and into, the memory that the
/// caller names.
/// </summary>
/// <remarks>
/// A call moves a run of bytes, so that what it costs to be a virtual one is not seen. One thread reads and one thread at a time writes;
/// <see cref="Abort"/> may be called from any thread and ends both.
/// </remarks>
internal abstract class ByteChannel : IDisposable
{
    /// <summary>Takes over a connected socket in blocking mode.</summary>
    protected ByteChannel(Socket socket)
    {
        Socket = socket;
        BulkSocket.Tune(socket);
    }

    /// <summary>The socket below.</summary>
    public Socket Socket { get; }

    /// <summary>Whether pages may be lent to the kernel (<see cref="PagePipe"/>): it sends what it is given as it is.</summary>
    public abstract bool LendsPages { get; }

    /// <summary>Agrees on keys with the peer, where that is needed, before anything else is sent or received.</summary>
    /// <exception cref="SocketException">The connection broke.</exception>
    /// <exception cref="System.Security.Authentication.AuthenticationException">The peers do not agree; the message says why.</exception>
    public abstract void Handshake();

    /// <summary>Waits for some bytes.</summary>
    /// <returns>Their number; 0 when the peer sends no more.</returns>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public abstract int Receive(Span<byte> destination);

    /// <summary>Waits until some bytes have come, or the peer sends no more, and leaves them to the next <see cref="Receive"/>.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public abstract void WaitForBytes();

    /// <summary>Sends some of the bytes, from the front, and blocks until there is room for at least one.</summary>
    /// <param name="pieces">What is to be sent, at most 1,024 runs; those that were sent are taken off, and the next one is
    /// shortened.</param>
    /// <returns>Bytes sent.</returns>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public abstract long Send(ref Span<UnmanagedPiece> pieces);

    /// <inheritdoc cref="BulkSocket.SetLowWater"/>
    public abstract void SetLowWater(int bytes);

    /// <summary>Sends three runs of bytes, any of which may be empty, with as few calls of the kernel as can be.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public unsafe void SendAll(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        if (first.Length + second.Length + third.Length == 0)
            return;
        fixed (byte* a = first, b = second, c = third)
        {
            Span<UnmanagedPiece> pieces =
                stackalloc UnmanagedPiece[] { new((nint)a, first.Length), new((nint)b, second.Length), new((nint)c, third.Length) };
            while (pieces.Length > 0)
                Send(ref pieces);
        }
    }

    /// <summary>Ends the connection from any thread: calls that wait for the peer return with an error.</summary>
    public void Abort() => BulkSocket.Abort(Socket);

    /// <summary>Closes the socket. Only the owning thread calls this, when no other uses the connection.</summary>
    public virtual void Dispose() => Socket.Dispose();
}
