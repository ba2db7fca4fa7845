using System.Buffers.Binary;

namespace KvCache.Engine.Index;

/// <summary>
/// Wire form of deltas: u16 bytes of each, then <see cref="Size"/> bytes each, without padding: u8 operation, 16 bytes of namespace, 32
/// bytes of hash, u64 stamp; numbers are little-endian. Of longer ones the rest is passed over, and operations that are not known here
/// change nothing: a later version may say more.
/// </summary>
internal static class IndexDeltaCodec
{
    /// <summary>Bytes of one delta.</summary>
    public const int Size = StampOffset + sizeof(ulong);

    /// <summary>Bytes in front of the first delta.</summary>
    public const int HeadBytes = sizeof(ushort);

    private const int NamespaceOffset = 1;
    private const int HashOffset = NamespaceOffset + NamespaceId.Size;
    private const int StampOffset = HashOffset + BlockHash.Size;

    /// <summary>Bytes of some deltas.</summary>
    public static int BytesOf(int deltas) => checked(HeadBytes + (deltas * Size));

    /// <summary>Writes deltas one after another.</summary>
    /// <param name="deltas">Deltas to write.</param>
    /// <param name="destination">At least <see cref="BytesOf"/>.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too small.</exception>
    public static int Encode(ReadOnlySpan<IndexDelta> deltas, Span<byte> destination)
    {
        var length = BytesOf(deltas.Length);
        if (destination.Length < length)
            throw new ArgumentException($"{deltas.Length} deltas need {length} bytes, got {destination.Length}.", nameof(destination));
        BinaryPrimitives.WriteUInt16LittleEndian(destination, Size);
        destination = destination[HeadBytes..];
        foreach (ref readonly var delta in deltas)
        {
            destination[0] = (byte)delta.Operation;
            delta.Key.Namespace.CopyTo(destination[NamespaceOffset..]);
            delta.Key.Hash.CopyTo(destination[HashOffset..]);
            BinaryPrimitives.WriteUInt64LittleEndian(destination[StampOffset..], delta.Stamp);
            destination = destination[Size..];
        }

        return length;
    }

    /// <summary>Reads all deltas of a buffer.</summary>
    /// <param name="source">Their size and whole deltas, nothing else.</param>
    /// <param name="destination">Receives them; its length is the most that is accepted.</param>
    /// <returns>Number of deltas.</returns>
    /// <exception cref="KvFormatException">A delta is cut off or too short, or there are too many.</exception>
    public static int Decode(ReadOnlySpan<byte> source, Span<IndexDelta> destination)
    {
        var size = source.Length < HeadBytes ? 0 : BinaryPrimitives.ReadUInt16LittleEndian(source);
        if (size < Size)
            throw new KvFormatException($"Index deltas have at least {Size} bytes each; the message says {size}.");
        source = source[HeadBytes..];
        var (count, rest) = Math.DivRem(source.Length, size);
        if (rest != 0)
            throw new KvFormatException($"Index deltas have {size} bytes each; {source.Length} bytes are not a whole number of them.");
        if (count > destination.Length)
            throw new KvFormatException($"The message has {count} index deltas; at most {destination.Length} are accepted.");
        for (var i = 0; i < count; i++, source = source[size..])
        {
            var operation = (IndexOperation)source[0];
            var key = new BlockKey(NamespaceId.Read(source[NamespaceOffset..]), new BlockHash(source[HashOffset..]));
            destination[i] = new IndexDelta(operation, key, BinaryPrimitives.ReadUInt64LittleEndian(source[StampOffset..]));
        }

        return count;
    }
}
