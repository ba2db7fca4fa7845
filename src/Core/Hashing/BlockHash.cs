using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KvCache.Hashing;

namespace KvCache;

/// <summary>
/// 32-byte name of a block inside its namespace: the value of the prefix chain that ends with the block,
/// or the hash of a text prefix or of an engine's own key.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Size)]
public readonly struct BlockHash : IEquatable<BlockHash>
{
    /// <summary>Bytes of a hash.</summary>
    public const int Size = 32;

    private readonly ulong _a, _b, _c, _d;

    /// <summary>Reads a hash from its bytes.</summary>
    /// <param name="bytes">At least <see cref="Size"/> bytes; the rest is ignored.</param>
    /// <exception cref="ArgumentException">Too few bytes.</exception>
    public BlockHash(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < Size)
            throw new ArgumentException($"A block hash has {Size} bytes, got {bytes.Length}.", nameof(bytes));
        this = MemoryMarshal.Read<BlockHash>(bytes);
    }

    /// <summary>The bytes of this hash, without a copy; valid while <paramref name="hash"/> is.</summary>
    public static ReadOnlySpan<byte> BytesOf(ref readonly BlockHash hash) =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<BlockHash>(in hash));

    /// <summary>Copies the bytes to <paramref name="destination"/>, which holds at least <see cref="Size"/> bytes.</summary>
    public void CopyTo(Span<byte> destination) => MemoryMarshal.Write(destination, in this);

    /// <summary>True for the all-zero value, which no SHA-256 is expected to produce and which stands for "none".</summary>
    public bool IsZero => (_a | _b | _c | _d) == 0;

    /// <summary>Parses 64 hexadecimal digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> hex, out BlockHash hash)
    {
        hash = default;
        Span<byte> bytes = stackalloc byte[Size];
        if (hex.Length != Size * 2 || Convert.FromHexString(hex, bytes, out _, out _) != System.Buffers.OperationStatus.Done)
            return false;
        hash = new BlockHash(bytes);
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(BlockHash other) => _a == other._a && _b == other._b && _c == other._c && _d == other._d;

    /// <inheritdoc/>
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is BlockHash other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => (int)KeyHash.Of(in this);

    /// <summary>64 lower-case hexadecimal digits.</summary>
    public override string ToString() => Convert.ToHexStringLower(BytesOf(in this));

    /// <summary>The first 12 digits, for logs.</summary>
    public string ToShortString() => ToString()[..12];

    /// <summary>Equality of all bytes.</summary>
    public static bool operator ==(BlockHash left, BlockHash right) => left.Equals(right);

    /// <summary>Inequality of any byte.</summary>
    public static bool operator !=(BlockHash left, BlockHash right) => !left.Equals(right);
}
