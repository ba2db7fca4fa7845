using System.Buffers.Text;

namespace KvCache.Silo.Resp;

/// <summary>
/// What has arrived of Redis' protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/), read from either end of a
/// connection: lines and short strings are parsed where they lie, payloads pass it by. Its memory grows with a line only, and those are
/// bounded.
/// </summary>
/// <param name="size">Bytes of its memory. What arrives in it of a payload has to be copied; a pipeline of small requests fits in.</param>
/// <param name="longestLine">Bytes of the longest line, and of the longest run of bytes that is asked for at once.</param>
/// <param name="receive">Brings more bytes.</param>
internal sealed class RespBuffer(int size, int longestLine, RespBuffer.Receiver receive)
{
    private byte[] _bytes = new byte[size];
    private int _start;
    private int _end;

    /// <summary>Receives bytes, at least one, or throws.</summary>
    public delegate int Receiver(Span<byte> destination);

    /// <summary>Bytes that are here.</summary>
    public int Count => _end - _start;

    /// <summary>The first byte, once there is one.</summary>
    public byte First => _bytes[_start];

    /// <summary>Parses a whole text as a number.</summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out long number) =>
        Utf8Parser.TryParse(text, out number, out var used) && used == text.Length && used > 0;

    /// <summary>Parses a whole text as a number that is written in the one way in which Redis writes it.</summary>
    public static bool TryParseExact(ReadOnlySpan<byte> text, out long number) =>
        TryParse(text, out number) && (text[0] is >= (byte)'1' and <= (byte)'9'
            || text.SequenceEqual("0"u8)
            || (text.Length > 1 && text[0] == '-' && text[1] is >= (byte)'1' and <= (byte)'9'));

    /// <summary>Gives back the memory of a long line, and offers the rest to a receive that may end the connection. Only when nothing is
    /// here.</summary>
    /// <returns>Bytes that arrived, 0 at the end of the connection.</returns>
    public int Restart(Receiver receiveOrEnd)
    {
        if (_bytes.Length > size)
            _bytes = new byte[size];
        (_start, _end) = (0, receiveOrEnd(_bytes));
        return _end;
    }

    /// <summary>Waits until so many bytes are here.</summary>
    public void Need(int count)
    {
        while (Count < count)
            Fill();
    }

    /// <summary>Takes bytes, once they are here.</summary>
    /// <returns>Them, valid until the next call.</returns>
    public ReadOnlySpan<byte> Take(int count)
    {
        Need(count);
        _start += count;
        return _bytes.AsSpan(_start - count, count);
    }

    /// <summary>Takes a line.</summary>
    /// <param name="end">CR, behind which LF is taken unseen as Redis does it; or LF.</param>
    /// <param name="line">The line without its end, valid until the next call.</param>
    /// <returns>False when it is too long.</returns>
    public bool TryReadLine(byte end, out ReadOnlySpan<byte> line)
    {
        int length, searched = 0;
        while ((length = _bytes.AsSpan(_start + searched, Count - searched).IndexOf(end)) < 0)
        {
            searched = Count;
            if (searched >= longestLine)
            {
                line = default;
                return false;
            }

            Fill();
        }

        length += searched;
        line = Take(length + (end == '\r' ? 2 : 1))[..length];
        return true;
    }

    /// <summary>Reads some bytes of a payload, at least one. A large rest goes straight to where it belongs; a small one comes with what
    /// follows it.</summary>
    /// <param name="destination">Not longer than what is left of the payload.</param>
    /// <returns>Their number.</returns>
    public int ReadSome(Span<byte> destination)
    {
        if (Count == 0)
        {
            if (destination.Length >= size)
                return receive(destination);
            Fill();
        }

        var count = Math.Min(destination.Length, Count);
        _bytes.AsSpan(_start, count).CopyTo(destination);
        _start += count;
        return count;
    }

    /// <summary>Reads and forgets bytes.</summary>
    public void Skip(long count)
    {
        while (count > 0)
        {
            if (Count == 0)
                Fill();
            var piece = (int)Math.Min(count, Count);
            _start += piece;
            count -= piece;
        }
    }

    /// <summary>Takes the line end behind a payload.</summary>
    /// <returns>False when something else is there.</returns>
    public bool TryReadEnd() => Take(2) is [(byte)'\r', (byte)'\n'];

    /// <summary>Puts bytes before those that are here.</summary>
    public void Prepend(ReadOnlySpan<byte> bytes)
    {
        var all = new byte[Math.Max(size, bytes.Length + Count)];
        bytes.CopyTo(all);
        _bytes.AsSpan(_start, Count).CopyTo(all.AsSpan(bytes.Length));
        (_bytes, _start, _end) = (all, 0, bytes.Length + Count);
    }

    private void Fill()
    {
        if (_start > 0)
        {
            _bytes.AsSpan(_start, Count).CopyTo(_bytes);
            (_start, _end) = (0, Count);
        }

        if (_end == _bytes.Length)
            Array.Resize(ref _bytes, _bytes.Length * 2);
        _end += receive(_bytes.AsSpan(_end));
    }
}
