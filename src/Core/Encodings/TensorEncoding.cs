using KvCache.Encodings.Planes;

namespace KvCache;

/// <summary>How the elements of a tensor are stored. Values other than <see cref="Raw"/> lose precision.</summary>
public enum ElementEncoding : byte
{
    /// <summary>The bytes as they are, of any type.</summary>
    Raw = 0,

    /// <summary>float32 as IEEE 754 binary16: 11 significant bits, magnitudes above 65,504 become infinite. Halves the size.</summary>
    Float16 = 1,

    /// <summary>float32 as bfloat16: 8 significant bits, the range of float32. Halves the size.</summary>
    BFloat16 = 2,
}

/// <summary>How stored bytes are compressed. The numeric value is part of the byte format.</summary>
public enum TensorCompression : byte
{
    /// <summary>Not compressed.</summary>
    None = 0,

    /// <summary>One or more gzip members (RFC 1952).</summary>
    GZip = 1,

    /// <summary>One or more Zstandard frames (RFC 8878).</summary>
    Zstd = 2,

    /// <summary>
    /// Exponents and mantissas of 16-bit floats apart, entropy-coded; many times as fast as <see cref="Zstd"/> and smaller on KV. Lossless.
    /// Takes elements that are
    /// stored as float16 or bfloat16; others are stored uncompressed.
    /// </summary>
    FloatPlanes = 3,
}

/// <summary>What an encoder does to a tensor: first to its elements, then to the bytes.</summary>
/// <param name="Elements">Element encoding; other than <see cref="ElementEncoding.Raw"/> takes float32 or the type it names.</param>
/// <param name="Compression">Compression. A tensor that would not get smaller is stored uncompressed, and its header says so.</param>
/// <param name="Level">1 to 9 for gzip, 1 to 22 for Zstandard; 0 is the default of the method (6 and 3), and the only one of
/// others.</param>
public readonly record struct TensorEncoding(
    ElementEncoding Elements = ElementEncoding.Raw,
    TensorCompression Compression = TensorCompression.None,
    int Level = 0)
{
    internal KvDataType StoredType(KvDataType original)
    {
        var stored = Elements switch
        {
            ElementEncoding.Raw => original,
            ElementEncoding.Float16 => KvDataType.Float16,
            ElementEncoding.BFloat16 => KvDataType.BFloat16,
            _ => throw new ArgumentException($"Unknown element encoding {Elements}; expected Raw, Float16 or BFloat16."),
        };
        return CanStore(original, stored)
            ? stored
            : throw new ArgumentException(
                $"Element encoding {Elements} takes Float32 or {stored} tensors, got {original}; store {original} with ElementEncoding.Raw.", nameof(original));
    }

    internal int CheckedLevel()
    {
        var (fallback, most) = Compression switch
        {
            TensorCompression.None => (0, 0),
            TensorCompression.GZip => (6, 9),
            TensorCompression.Zstd => (3, 22),
            TensorCompression.FloatPlanes => (0, 0),
            _ => throw new ArgumentException($"Unknown compression {Compression}; expected None, GZip, Zstd or FloatPlanes."),
        };
        if (Level < 0 || Level > most)
            throw new ArgumentException(
                $"Compression level {Level}; {Compression} takes "
                + $"{(most == 0 ? "0 only: it has no levels" : $"1 to {most}, or 0 for its default")}.");
        return Level == 0 ? fallback : Level;
    }

    internal static bool CanStore(KvDataType original, KvDataType stored) =>
        original == stored || (original == KvDataType.Float32 && stored is KvDataType.Float16 or KvDataType.BFloat16);
}
