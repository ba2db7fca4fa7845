using System.ComponentModel;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace KvCache.Engine.Wire;

/// <summary>A socket with TLS: bytes are encrypted out of, and decrypted into, the memory that the caller names.</summary>
/// <remarks>
/// <see cref="SslStream"/> does the work, over a stream that collects its records (<see cref="TlsRecords"/>). All buffers are pooled; <see
/// cref="SslStream"/> itself allocates about 70 bytes for each record of 16 KiB.
/// </remarks>
internal sealed unsafe class TlsChannel : ByteChannel
{
    // A record carries at most this much (RFC 8446, 5.1), and costs 22 bytes and a call of the cipher whatever it carries.
    private const int RecordBytes = 16 * 1024;

    // The other end decrypts while this one encrypts what follows; and the watchdog sees what was sent only between calls.
    private const int BytesOfOneSend = 1 << 20;

    private readonly TlsRecords _records;
    private readonly SslStream _stream;
    private readonly Action<SslStream> _authenticate;
    private byte? _ahead; // received while waiting

    /// <summary>Takes over a connected socket.</summary>
    /// <param name="socket">The socket, in blocking mode.</param>
    /// <param name="authenticate">Agrees on keys, as client or as server (<see cref="Security.TlsClient"/>, <see
    /// cref="Security.TlsServer"/>).</param>
    public TlsChannel(Socket socket, Action<SslStream> authenticate)
        : base(socket)
    {
        _records = new TlsRecords(socket);
        _stream = new SslStream(_records, leaveInnerStreamOpen: false);
        _authenticate = authenticate;
    }

    /// <inheritdoc/>
    public override bool LendsPages => false;

    /// <summary>The certificate of the peer after the handshake, checked; null when it has shown none.</summary>
    public X509Certificate2? RemoteCertificate => _stream.RemoteCertificate as X509Certificate2;

    /// <inheritdoc/>
    public override void Handshake()
    {
        try
        {
            _authenticate(_stream);
        }
        catch (Exception e) when (IsBreak(e) && e is not AuthenticationException)
        {
            throw Broken(e);
        }
    }

    /// <inheritdoc/>
    public override int Receive(Span<byte> destination)
    {
        if (_ahead is { } first && destination.Length > 0)
        {
            destination[0] = first;
            _ahead = null;
            return 1;
        }

        try
        {
            return _stream.Read(destination);
        }
        catch (Exception e) when (IsBreak(e))
        {
            throw Broken(e);
        }
    }

    /// <inheritdoc/>
    public override void WaitForBytes()
    {
        // What the socket has says nothing: bytes may wait decrypted above it, or be of no record that is whole.
        Span<byte> first = stackalloc byte[1];
        if (_ahead is null && Receive(first) == 1)
            _ahead = first[0];
    }

    /// <inheritdoc/>
    public override long Send(ref Span<UnmanagedPiece> pieces)
    {
        try
        {
            _records.BeginBulk();
            var sent = Encrypt(ref pieces);
            _records.EndBulk();
            return sent;
        }
        catch (Exception e) when (IsBreak(e))
        {
            throw Broken(e);
        }
    }

    /// <inheritdoc/>
    public override void SetLowWater(int bytes)
    {
        // How many bytes of the socket a number of bytes takes is the peer's choice.
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        // Without a goodbye: it could block, and every protocol here tells where its messages end.
        base.Dispose();
        _stream.Dispose();
    }

    // What is smaller than a record is collected with its neighbours; the rest is encrypted from where it lies.
    private long Encrypt(ref Span<UnmanagedPiece> pieces)
    {
        var record = PinnedBuffers.Records.Rent();
        try
        {
            long sent = 0;
            var filled = 0;
            while (pieces.Length > 0 && sent < BytesOfOneSend)
            {
                var piece = pieces[0];
                var whole = (int)Math.Min(piece.Length, BytesOfOneSend - sent) / RecordBytes * RecordBytes;
                var bytes = new ReadOnlySpan<byte>(
                    (void*)piece.Start, filled == 0 && whole > 0 ? whole : (int)Math.Min(piece.Length, RecordBytes - filled));
                if (filled == 0 && whole > 0)
                {
                    _stream.Write(bytes);
                }
                else
                {
                    bytes.CopyTo(record.AsSpan(filled));
                    if ((filled += bytes.Length) == RecordBytes)
                    {
                        _stream.Write(record.AsSpan(0, filled));
                        filled = 0;
                    }
                }

                sent += bytes.Length;
                pieces[0] = piece.Skip(bytes.Length);
                if (pieces[0].Length == 0)
                    pieces = pieces[1..];
            }

            if (filled > 0)
                _stream.Write(record.AsSpan(0, filled));
            return sent;
        }
        finally
        {
            PinnedBuffers.Records.Return(record);
        }
    }

    private static bool IsBreak(Exception exception) =>
        exception is IOException or AuthenticationException or Win32Exception and not SocketException or InvalidOperationException
            and not ObjectDisposedException;

    private static SocketException Broken(Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is SocketException cause)
                return cause;
        }

        return new SocketException((int)SocketError.ConnectionReset, $"TLS failed: {exception.GetBaseException().Message}");
    }
}
