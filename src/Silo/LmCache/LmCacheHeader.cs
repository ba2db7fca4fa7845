using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace KvCache.Silo.LmCache;

/// <summary>Commands of LMCache's remote protocol (<c>lmcache/v1/protocol.py</c>).</summary>
internal enum LmCacheCommand
{
    Put = 1,
    Get = 2,
    Exist = 3,
    List = 4,
    Health = 5,
}

/// <summary>
/// The integers that describe a value: format, element type, four dimensions and location. Versions pad shapes of fewer dimensions
/// differently and number formats as they like, so that they are kept as they came and never read.
/// </summary>
[InlineArray(Count)]
internal struct LmCacheShape
{
    public const int Count = 7;

    /// <summary>Size as the label of a value.</summary>
    public const int Bytes = Count * sizeof(int);

    private int _first;

    /// <summary>What stands in replies without a value, which every client's parser accepts: format 1, element type 2 (float16), no
    /// location.</summary>
    public static LmCacheShape None
    {
        get
        {
            var shape = default(LmCacheShape);
            shape[0] = 1;
            shape[1] = 2;
            return shape;
        }
    }
}

/// <summary>The fixed-size frames of the protocol: little-endian integers without padding, no version and no request id.</summary>
internal static class LmCacheHeader
{
    /// <summary>Bytes of a request: command, length, format, type, location, four dimensions, key.</summary>
    public const int RequestBytes = (9 * sizeof(int)) + KeyBytes;

    /// <summary>Bytes of a reply: code, length, format, type, four dimensions, location.</summary>
    public const int ReplyBytes = 9 * sizeof(int);

    /// <summary>Code of a success.</summary>
    public const int Ok = 200;

    /// <summary>Code of everything else.</summary>
    public const int Failed = 400;

    private const int KeyBytes = 150;

    // The location comes before the dimensions in a request and behind them in a reply; the label keeps the reply's order.
    private static readonly int[] RequestOrder = [2, 3, 5, 6, 7, 8, 4];

    /// <summary>Reads a request.</summary>
    /// <returns>The key, without the blanks that fill its field.</returns>
    public static ReadOnlySpan<byte> Parse(ReadOnlySpan<byte> request, out int command, out int length, out LmCacheShape shape)
    {
        command = Field(request, 0);
        length = Field(request, 1);
        shape = default;
        for (var i = 0; i < LmCacheShape.Count; i++)
            shape[i] = Field(request, RequestOrder[i]);
        return request[(RequestBytes - KeyBytes)..].TrimEnd((byte)' ');
    }

    /// <summary>Writes a reply.</summary>
    public static void Write(Span<byte> reply, int code, int length, in LmCacheShape shape)
    {
        BinaryPrimitives.WriteInt32LittleEndian(reply, code);
        BinaryPrimitives.WriteInt32LittleEndian(reply[sizeof(int)..], length);
        WriteShape(reply[(2 * sizeof(int))..], in shape);
    }

    /// <summary>Writes a shape as a value's label.</summary>
    public static void WriteShape(Span<byte> label, in LmCacheShape shape)
    {
        for (var i = 0; i < LmCacheShape.Count; i++)
            BinaryPrimitives.WriteInt32LittleEndian(label[(i * sizeof(int))..], shape[i]);
    }

    /// <summary>Reads a value's label.</summary>
    /// <returns>False when it is not one.</returns>
    public static bool TryReadShape(ReadOnlySpan<byte> label, out LmCacheShape shape)
    {
        shape = default;
        if (label.Length != LmCacheShape.Bytes)
            return false;
        for (var i = 0; i < LmCacheShape.Count; i++)
            shape[i] = Field(label, i);
        return true;
    }

    private static int Field(ReadOnlySpan<byte> bytes, int index) => BinaryPrimitives.ReadInt32LittleEndian(bytes[(index * sizeof(int))..]);
}
