using System.Buffers.Binary;

namespace KvCache.Caching;

/// <summary>What is stored beside an entry: how long it may live in all, and how long without being read.</summary>
/// <param name="Absolute">End of its life, in milliseconds since 1970; 0 for none.</param>
/// <param name="Sliding">Milliseconds that it lives after a read; 0 for none.</param>
internal readonly record struct EntryLabel(long Absolute, long Sliding)
{
    public const int Size = 2 * sizeof(long);

    public byte[] ToBytes()
    {
        var bytes = new byte[Size];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, Absolute);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(sizeof(long)), Sliding);
        return bytes;
    }

    /// <summary>What bytes say; those of another size say nothing.</summary>
    public static EntryLabel Read(ReadOnlySpan<byte> bytes) => bytes.Length != Size
        ? default
        : new EntryLabel(
            BinaryPrimitives.ReadInt64LittleEndian(bytes), BinaryPrimitives.ReadInt64LittleEndian(bytes[sizeof(long)..]));

    /// <summary>Life from now on; null for one without an end. Zero or less when it is over.</summary>
    public TimeSpan? LifeAt(DateTimeOffset now)
    {
        var end = Absolute == 0 ? long.MaxValue : Absolute - now.ToUnixTimeMilliseconds();
        var left = Sliding == 0 ? end : Math.Min(end, Sliding);
        return left == long.MaxValue ? null : TimeSpan.FromMilliseconds(left);
    }
}
