namespace KvCache.Silo.Resp;

/// <summary>Small arguments of one request, in memory that the connection reuses.</summary>
internal sealed class RespArguments
{
    /// <summary>Most bytes of all arguments of a request, values that are stored not counted.</summary>
    public const int MaxBytes = 1 << 20;

    /// <summary>Most arguments of a request that are kept.</summary>
    public const int MaxCount = 64 * 1024;

    private const int KeptBytes = 64 * 1024;

    private byte[] _bytes = new byte[1024];
    private int[] _ends = new int[16];
    private int _count;

    /// <summary>Number of arguments.</summary>
    public int Count => _count;

    /// <summary>An argument.</summary>
    public ReadOnlySpan<byte> this[int index] => _bytes.AsSpan(Start(index), _ends[index] - Start(index));

    /// <summary>Bytes of all arguments.</summary>
    public int Bytes => _count == 0 ? 0 : _ends[_count - 1];

    /// <summary>Forgets all arguments.</summary>
    public void Clear()
    {
        _count = 0;
        if (_bytes.Length > KeptBytes)
            _bytes = new byte[1024];
        if (_ends.Length > KeptBytes / sizeof(int))
            _ends = new int[16];
    }

    /// <summary>Forgets the arguments behind the first ones.</summary>
    public void Truncate(int count) => _count = Math.Min(_count, count);

    /// <summary>Adds an argument.</summary>
    /// <returns>Memory for its bytes, which the caller fills at once.</returns>
    public Span<byte> Add(int length)
    {
        var start = Bytes;
        if (start + length > _bytes.Length)
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, start + length));
        if (_count == _ends.Length)
            Array.Resize(ref _ends, _ends.Length * 2);
        _ends[_count++] = start + length;
        return _bytes.AsSpan(start, length);
    }

    /// <summary>Whether an argument is a word, in capitals or not.</summary>
    public bool Is(int index, ReadOnlySpan<byte> word) => System.Text.Ascii.EqualsIgnoreCase(this[index], word);

    /// <summary>Reads an argument as a number, in the one form in which Redis takes it.</summary>
    public bool TryInteger(int index, out long value) => RespBuffer.TryParseExact(this[index], out value);

    /// <summary>An argument as text, for messages.</summary>
    public string Text(int index) => System.Text.Encoding.UTF8.GetString(this[index]);

    private int Start(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _count);
        return index == 0 ? 0 : _ends[index - 1];
    }
}
