using System.Buffers.Binary;

namespace KvCache.Silo.Values;

/// <summary>
/// Reads a value of <see cref="ValueKind.Fields"/>: for each field u32 bytes of its name, u32 bytes of its value, name, value. Few fields,
/// read from the front; whoever changes one writes all of them anew.
/// </summary>
internal ref struct FieldTable(ReadOnlySpan<byte> bytes)
{
    /// <summary>Bytes of a field beside name and value.</summary>
    public const int HeadBytes = 2 * sizeof(uint);

    private ReadOnlySpan<byte> _rest = bytes;

    /// <summary>Name of the field that was read last.</summary>
    public ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>Value of the field that was read last.</summary>
    public ReadOnlySpan<byte> Value { get; private set; }

    /// <summary>Reads the next field.</summary>
    /// <returns>False when there is none.</returns>
    public bool Read()
    {
        if (_rest.Length < HeadBytes)
            return false;
        var name = BinaryPrimitives.ReadInt32LittleEndian(_rest);
        var value = BinaryPrimitives.ReadInt32LittleEndian(_rest[sizeof(uint)..]);
        Name = _rest.Slice(HeadBytes, name);
        Value = _rest.Slice(HeadBytes + name, value);
        _rest = _rest[(HeadBytes + name + value)..];
        return true;
    }

    /// <summary>Finds a field, from the next one on.</summary>
    public bool Find(ReadOnlySpan<byte> name)
    {
        while (Read())
        {
            if (Name.SequenceEqual(name))
                return true;
        }

        return false;
    }

    /// <summary>Number of fields from the next one on.</summary>
    public int Count()
    {
        var count = 0;
        while (Read())
            count++;
        return count;
    }

    /// <summary>Writes what stands before a field.</summary>
    public static void WriteHead(Span<byte> destination, int name, int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(destination, name);
        BinaryPrimitives.WriteInt32LittleEndian(destination[sizeof(uint)..], value);
    }
}
