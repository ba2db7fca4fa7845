using System.Buffers.Binary;
using System.Text;

namespace KvCache.Engine.Events;

/// <summary>What kind of item comes next.</summary>
internal enum MessagePackKind
{
    Nil,
    Boolean,
    Integer,
    Float,
    Text,
    Bytes,
    Array,
    Map,
    Extension,
}

/// <summary>Reads MessagePack that others wrote: every length is checked before it is believed.</summary>
/// <param name="bytes">The items.</param>
internal ref struct MessagePackReader(ReadOnlySpan<byte> bytes)
{
    // Deeper than any event is; a bound for the stack.
    private const int MaxDepth = 16;

    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _position;

    /// <summary>Bytes read so far.</summary>
    public readonly int Position => _position;

    /// <exception cref="KvFormatException">There is no further item.</exception>
    public readonly MessagePackKind Next
    {
        get
        {
            if (_position >= _bytes.Length)
                throw new KvFormatException("The MessagePack ends where an item was expected.");
            return _bytes[_position] switch
            {
                <= 0x7F or >= 0xE0 or (>= 0xCC and <= 0xD3) => MessagePackKind.Integer,
                <= 0x8F or 0xDE or 0xDF => MessagePackKind.Map,
                <= 0x9F or 0xDC or 0xDD => MessagePackKind.Array,
                <= 0xBF or (>= 0xD9 and <= 0xDB) => MessagePackKind.Text,
                0xC0 => MessagePackKind.Nil,
                0xC2 or 0xC3 => MessagePackKind.Boolean,
                >= 0xC4 and <= 0xC6 => MessagePackKind.Bytes,
                0xCA or 0xCB => MessagePackKind.Float,
                _ => MessagePackKind.Extension,
            };
        }
    }

    /// <summary>Reads past nil, if that is what comes next.</summary>
    public bool TryNil()
    {
        if (Next != MessagePackKind.Nil)
            return false;
        _position++;
        return true;
    }

    /// <summary>An integer as its low 64 bits.</summary>
    /// <exception cref="KvFormatException">The item is something else.</exception>
    public ulong Integer()
    {
        Expect(MessagePackKind.Integer);
        var type = Take(1)[0];
        return type switch
        {
            <= 0x7F => type,
            >= 0xE0 => (ulong)(sbyte)type,
            0xCC => Take(1)[0],
            0xCD => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            0xCE => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
            0xD0 => (ulong)(sbyte)Take(1)[0],
            0xD1 => (ulong)BinaryPrimitives.ReadInt16BigEndian(Take(2)),
            0xD2 => (ulong)BinaryPrimitives.ReadInt32BigEndian(Take(4)),
            _ => BinaryPrimitives.ReadUInt64BigEndian(Take(8)),
        };
    }

    /// <exception cref="KvFormatException">The item is something else.</exception>
    public string Text()
    {
        Expect(MessagePackKind.Text);
        var type = Take(1)[0];
        return Encoding.UTF8.GetString(Take(type < 0xD9 ? type & 0x1F : Length(type - 0xD9)));
    }

    /// <exception cref="KvFormatException">The item is something else.</exception>
    public ReadOnlySpan<byte> Bytes()
    {
        Expect(MessagePackKind.Bytes);
        return Take(Length(Take(1)[0] - 0xC4));
    }

    /// <summary>Number of items of an array, which follow. Each takes a byte at least.</summary>
    /// <exception cref="KvFormatException">The item is something else, or claims more items than there are bytes.</exception>
    public int Array()
    {
        Expect(MessagePackKind.Array);
        var type = Take(1)[0];
        return Count(type <= 0x9F ? type & 0x0F : Length(type - 0xDC + 1));
    }

    /// <summary>Number of pairs of a map, which follow.</summary>
    /// <exception cref="KvFormatException">The item is something else, or claims more items than there are bytes.</exception>
    public int Map()
    {
        Expect(MessagePackKind.Map);
        var type = Take(1)[0];
        return Count(type <= 0x8F ? type & 0x0F : Length(type - 0xDE + 1));
    }

    /// <summary>Reads past an item of any kind and gives its bytes.</summary>
    public ReadOnlySpan<byte> Skip()
    {
        var start = _position;
        Skip(MaxDepth);
        return _bytes[start.._position];
    }

    private void Skip(int depth)
    {
        if (depth == 0)
            throw new KvFormatException($"The MessagePack is nested more than {MaxDepth} deep.");
        switch (Next)
        {
            case MessagePackKind.Integer:
                Integer();
                break;
            case MessagePackKind.Text:
                Text();
                break;
            case MessagePackKind.Bytes:
                Bytes();
                break;
            case MessagePackKind.Float:
                Take(Take(1)[0] == 0xCA ? 4 : 8);
                break;
            case MessagePackKind.Array:
                for (var left = Array(); left > 0; left--)
                    Skip(depth - 1);
                break;
            case MessagePackKind.Map:
                for (var left = 2 * (long)Map(); left > 0; left--)
                    Skip(depth - 1);
                break;
            case MessagePackKind.Extension:
                throw new KvFormatException("The MessagePack has an extension type, which no KV event has.");
            default:
                _position++;
                break;
        }
    }

    private readonly void Expect(MessagePackKind kind)
    {
        if (Next != kind)
            throw new KvFormatException($"The MessagePack has an item of kind {Next} at byte {_position} where {kind} was expected.");
    }

    private readonly int Count(int count) => count <= _bytes.Length - _position
        ? count
        : throw new KvFormatException(
            $"The MessagePack claims {count} items at byte {_position}, and only {_bytes.Length - _position} bytes follow.");

    // A length of 1, 2 or 4 bytes.
    private int Length(int log)
    {
        var length = log switch
        {
            0 => Take(1)[0],
            1 => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            _ => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
        };
        return length <= int.MaxValue ? (int)length : throw new KvFormatException($"The MessagePack claims a length of {length}.");
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > _bytes.Length - _position)
            throw new KvFormatException(
                $"The MessagePack ends early: {count} bytes were expected at byte {_position}, {_bytes.Length - _position} are left.");
        var taken = _bytes.Slice(_position, count);
        _position += count;
        return taken;
    }
}
