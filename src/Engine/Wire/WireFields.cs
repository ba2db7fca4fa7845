using System.Buffers.Binary;
using KvCache.Binary;

namespace KvCache.Engine.Wire;

/// <summary>
/// Tagged fields in front of a frame's meta part: what later versions say more. Each is u16 tag, u16 zero, u32 length and the value; tag 0
/// ends the list, and zero bytes fill it up to a multiple of <see cref="Unit"/>, in which the frame's header counts it.
/// </summary>
/// <remarks>
/// Who does not know a tag passes over it. A tag from <see cref="MustBeKnown"/> on changes what the frame means: who does not know it must
/// not answer as if it were not there. A frame without fields pays nothing for them.
/// </remarks>
internal static class WireFields
{
    /// <summary>Bytes by which the header counts fields.</summary>
    public const int Unit = 16;

    /// <summary>First tag that must not be passed over.</summary>
    public const ushort MustBeKnown = 0x8000;

    /// <summary>The sender's hybrid clock, u64: the latest generation or stamp that it has given or seen. In what silos tell each
    /// other.</summary>
    public const ushort Clock = 1;

    /// <summary>The silo is about to leave, without a value: it serves what it has, and others are to be asked and given to first. In every
    /// answer of such a silo.</summary>
    public const ushort Leaving = 2;

    /// <summary>Nothing is about to be read, without a value. In a locate of somebody who only wants to know.</summary>
    public const ushort NotARead = 3;

    /// <summary>The answer is to say where the blocks are that were found, without a value. In a match of somebody who is about to read
    /// them.</summary>
    public const ushort WithLocations = 4;

    /// <summary>The hold of a match, u64, whose blocks are read: it saves looking for them. In a get.</summary>
    public const ushort Hold = 5;

    /// <summary>A hint (<see cref="HintField"/>): in a match, get, put or hint of whatever form.</summary>
    public const ushort Hint = 6;

    private const int HeadBytes = 8;

    /// <summary>Appends a field. Fields come right behind the room for the header, before everything else; <see cref="End"/> ends
    /// them.</summary>
    public static void Add(WireWriter writer, ushort tag, ReadOnlySpan<byte> value)
    {
        var field = writer.Take(HeadBytes + value.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(field, tag);
        BinaryPrimitives.WriteUInt16LittleEndian(field[2..], 0);
        BinaryPrimitives.WriteInt32LittleEndian(field[4..], value.Length);
        value.CopyTo(field[HeadBytes..]);
    }

    /// <summary>Appends a field with a number.</summary>
    public static void Add(WireWriter writer, ushort tag, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Add(writer, tag, bytes);
    }

    /// <summary>Ends the fields of a frame that begins at the front of the writer.</summary>
    public static void End(WireWriter writer)
    {
        var bytes = writer.Length - FrameHeader.Size;
        writer.Take(-bytes & (Unit - 1)).Clear();
        writer.FieldBytes = writer.Length - FrameHeader.Size;
    }

    /// <summary>Finds a field.</summary>
    /// <param name="fields">The fields of a frame.</param>
    /// <param name="tag">Its tag.</param>
    /// <param name="value">Its value; of several the first.</param>
    /// <exception cref="KvFormatException">They are not fields.</exception>
    public static bool TryFind(ReadOnlySpan<byte> fields, ushort tag, out ReadOnlySpan<byte> value)
    {
        while (TryRead(ref fields, out var found, out value))
        {
            if (found == tag)
                return true;
        }

        return false;
    }

    /// <summary>A field with a number; 0 when it is not there.</summary>
    /// <exception cref="KvFormatException">They are not fields, or the value is no number.</exception>
    public static ulong Number(ReadOnlySpan<byte> fields, ushort tag)
    {
        if (!TryFind(fields, tag, out var value))
            return 0;
        return value.Length >= sizeof(ulong)
            ? BinaryPrimitives.ReadUInt64LittleEndian(value)
            : throw new KvFormatException($"The field {tag} has {value.Length} bytes; at least {sizeof(ulong)} were expected.");
    }

    /// <summary>Reads the fields once.</summary>
    /// <param name="fields">The fields of a frame.</param>
    /// <returns>The first tag that must be known and is not; 0 when there is none.</returns>
    /// <exception cref="KvFormatException">They are not fields.</exception>
    public static ushort FirstUnknown(ReadOnlySpan<byte> fields)
    {
        while (TryRead(ref fields, out var tag, out _))
        {
            if (tag >= MustBeKnown)
                return tag;
        }

        return 0;
    }

    private static bool TryRead(scoped ref ReadOnlySpan<byte> fields, out ushort tag, out ReadOnlySpan<byte> value)
    {
        tag = 0;
        value = default;
        if (fields.Length < HeadBytes || (tag = BinaryPrimitives.ReadUInt16LittleEndian(fields)) == 0)
        {
            return fields.ContainsAnyExcept((byte)0)
                ? throw new KvFormatException("Behind the last tagged field of a frame, zero bytes were expected.")
                : false;
        }

        var length = BinaryPrimitives.ReadUInt32LittleEndian(fields[4..]);
        if (length > (uint)(fields.Length - HeadBytes))
            throw new KvFormatException($"The field {tag} has {length} bytes; {fields.Length - HeadBytes} are left.");
        value = fields.Slice(HeadBytes, (int)length);
        fields = fields[(HeadBytes + (int)length)..];
        return true;
    }
}
