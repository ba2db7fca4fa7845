using System.Net.Sockets;

namespace KvCache.Engine.Wire;

/// <summary>
/// The socket below a <see cref="System.Net.Security.SslStream"/>, which sends a record of 16 KiB at a time: they are collected, for a call
/// of the kernel and a wake-up of
/// the peer cost more than copying one.
/// </summary>
internal sealed class TlsRecords(Socket socket) : Stream
{
    private byte[]? _collected;
    private int _length;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>What is written from now on may wait for <see cref="EndBulk"/>.</summary>
    public void BeginBulk() => _collected ??= PinnedBuffers.Bulk.Rent();

    /// <summary>Sends what waits.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public void EndBulk()
    {
        Flush();
        if (_collected is { } buffer)
            PinnedBuffers.Bulk.Return(buffer);
        _collected = null;
    }

    public override void Flush()
    {
        if (_length > 0)
            SendAll(_collected.AsSpan(0, _length));
        _length = 0;
    }

    public override int Read(Span<byte> buffer) => buffer.Length == 0 ? 0 : socket.Receive(buffer);

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (_collected is not { } collected)
        {
            SendAll(buffer);
            return;
        }

        if (_length + buffer.Length > collected.Length)
            Flush();
        if (buffer.Length > collected.Length)
        {
            SendAll(buffer);
            return;
        }

        buffer.CopyTo(collected.AsSpan(_length));
        _length += buffer.Length;
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (_collected is { } buffer)
            PinnedBuffers.Bulk.Return(buffer);
        _collected = null;
        base.Dispose(disposing);
    }

    private void SendAll(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
            bytes = bytes[socket.Send(bytes)..];
    }
}
