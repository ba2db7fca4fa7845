namespace KvCache;

/// <summary>Element type of the tensors in a block. The numeric value is part of the namespace id and of the wire format.</summary>
public enum KvDataType : byte
{
    /// <summary>IEEE 754 binary32, 4 bytes.</summary>
    Float32 = 1,

    /// <summary>IEEE 754 binary16, 2 bytes.</summary>
    Float16 = 2,

    /// <summary>bfloat16: the upper half of a binary32, 2 bytes.</summary>
    BFloat16 = 3,

    /// <summary>OCP 8-bit float with 4 exponent and 3 mantissa bits, finite values only (e4m3fn), 1 byte.</summary>
    Float8E4M3 = 4,

    /// <summary>OCP 8-bit float with 5 exponent and 2 mantissa bits (e5m2), 1 byte.</summary>
    Float8E5M2 = 5,

    /// <summary>8-bit integer or raw bytes, 1 byte.</summary>
    UInt8 = 6,
}

/// <summary>Facts about <see cref="KvDataType"/>.</summary>
public static class KvDataTypes
{
    /// <summary>Size of one element in bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is not a member of the enumeration.</exception>
    public static int Size(this KvDataType type) => type switch
    {
        KvDataType.Float32 => 4,
        KvDataType.Float16 or KvDataType.BFloat16 => 2,
        KvDataType.Float8E4M3 or KvDataType.Float8E5M2 or KvDataType.UInt8 => 1,
        _ => throw new ArgumentOutOfRangeException(
            nameof(type), type, "Unknown KV data type; expected one of Float32, Float16, BFloat16, Float8E4M3, Float8E5M2, UInt8."),
    };
}
