using System.Buffers.Binary;

namespace KvCache.Engine.Index;

/// <summary>
/// Wire form of deltas: <see cref="Size"/> bytes each, without padding: u8 operation, 16 bytes of namespace, 32 bytes of hash,
/// u64 stamp; numbers are little-endian.
/// </summary>
internal static class IndexDeltaCodec
{
    /// <summary>Bytes of one delta.</summary>
    public const int Size = StampOffset + sizeof(ulong);

    private const int NamespaceOffset = 1;
    private const int HashOffset = NamespaceOffset + NamespaceId.Size;
    private const int StampOffset = HashOffset + BlockHash.Size;

    /// <summary>Writes deltas one after another.</summary>
    /// <param name="deltas">Deltas to write.</param>
    /// <param name="destination">At least <see cref="Size"/> bytes for each.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too small.</exception>
    public static int Encode(ReadOnlySpan<IndexDelta> deltas, Span<byte> destination)
    {
        var length = checked(deltas.Length * Size);
        if (destination.Length < length)
            throw new ArgumentException($"{deltas.Length} deltas need {length} bytes, got {destination.Length}.", nameof(destination));
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
    /// <param name="source">Whole deltas, nothing else.</param>
    /// <param name="destination">Receives them; its length is the most that is accepted.</param>
    /// <returns>Number of deltas.</returns>
    /// <exception cref="KvFormatException">A delta is cut off, there are too many, or an operation is unknown.</exception>
    public static int Decode(ReadOnlySpan<byte> source, Span<IndexDelta> destination)
    {
        var (count, rest) = Math.DivRem(source.Length, Size);
        if (rest != 0)
            throw new KvFormatException($"Index deltas have {Size} bytes each; {source.Length} bytes are not a whole number of them.");
        if (count > destination.Length)
            throw new KvFormatException($"The message has {count} index deltas; at most {destination.Length} are accepted.");
        for (var i = 0; i < count; i++, source = source[Size..])
        {
            var operation = (IndexOperation)source[0];
            if (operation is < IndexOperation.Added or > IndexOperation.Deleted)
                throw new KvFormatException($"Index delta {i} has the operation {source[0]}; 1 to 5 are known.");
            var key = new BlockKey(NamespaceId.Read(source[NamespaceOffset..]), new BlockHash(source[HashOffset..]));
            destination[i] = new IndexDelta(operation, key, BinaryPrimitives.ReadUInt64LittleEndian(source[StampOffset..]));
        }

        return count;
    }
}
