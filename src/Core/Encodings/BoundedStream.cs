namespace KvCache.Encodings;

/// <summary>Write-only stream over fixed memory that drops what does not fit and says so, instead of throwing.</summary>
/// <remarks>Compressed data that outgrows its source is an ordinary outcome here, too frequent for an exception.</remarks>
internal sealed unsafe class BoundedStream(byte* start, int capacity) : Stream
{
    private int _written;

    /// <summary>Whether more was written than fits.</summary>
    public bool Overflowed { get; private set; }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => _written;

    public override long Position
    {
        get => _written;
        set => throw new NotSupportedException();
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        Overflowed |= buffer.Length > capacity - _written;
        if (Overflowed)
            return;
        buffer.CopyTo(new Span<byte>(start + _written, capacity - _written));
        _written += buffer.Length;
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
