using System.Buffers.Binary;
using KvCache.Binary;

namespace KvCache.Engine.Wire;

/// <summary>
/// A hint as a tagged field: u8 end, u8 priority or 255, u8 kind, u8 zero, u64 milliseconds of retention or 0. Advice that later versions
/// have more words for is no error: what is not known is not told.
/// </summary>
internal static class HintField
{
    private const int Bytes = 12;
    private const byte NoPriority = byte.MaxValue;

    /// <summary>Appends a hint to the fields of a frame; nothing when there is none.</summary>
    public static void Add(WireWriter writer, CacheHint? hint)
    {
        if (hint is null or { IsEmpty: true })
            return;
        Span<byte> value = stackalloc byte[Bytes];
        value[0] = (byte)hint.End;
        value[1] = (byte?)hint.Priority ?? NoPriority;
        value[2] = (byte)hint.Kind;
        value[3] = 0;
        BinaryPrimitives.WriteUInt64LittleEndian(value[4..], hint.Retention is { } time ? WireProtocol.Milliseconds(time) : 0);
        WireFields.Add(writer, WireFields.Hint, value);
    }

    /// <summary>The hint of a frame; null when it has none.</summary>
    /// <exception cref="KvFormatException">The field is too short.</exception>
    public static CacheHint? Read(ReadOnlySpan<byte> fields)
    {
        if (fields.IsEmpty || !WireFields.TryFind(fields, WireFields.Hint, out var value))
            return null;
        if (value.Length < Bytes)
            throw new KvFormatException($"A hint has {value.Length} bytes; at least {Bytes} were expected.");
        var retention = BinaryPrimitives.ReadUInt64LittleEndian(value[4..]);
        return new CacheHint
        {
            End = Enum.IsDefined((AnswerEnd)value[0]) ? (AnswerEnd)value[0] : AnswerEnd.Unknown,
            Priority = value[1] <= 100 ? value[1] : null,
            Kind = Enum.IsDefined((TokenKind)value[2]) ? (TokenKind)value[2] : TokenKind.Unknown,
            Retention = retention == 0 ? null : WireProtocol.Duration(retention),
        };
    }
}
