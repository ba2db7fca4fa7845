namespace KvCache.Engine.Storage;

/// <content>Looking at blocks that nobody reads.</content>
internal sealed partial class BlockStore
{
    /// <summary>Shape and end of life of the visible block, or null. Neither extends its life nor counts as use.</summary>
    public (KvLayout Layout, DateTimeOffset? ExpiresAt)? Peek(BlockKey key) =>
        !Term.IsOver && Look(key) is { } entry ? (entry.Layout, EndOf(entry)) : null;

    internal DateTimeOffset? EndOf(BlockEntry entry) =>
        Volatile.Read(ref entry.ExpiresAt) is var deadline and < long.MaxValue ? _deadlines.Utc(deadline) : null;

    /// <summary>Copies a small layer of the visible block. Neither extends its life nor counts as use.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="fromEnd">Which layer: 1 for the last.</param>
    /// <param name="destination">Receives it.</param>
    /// <returns>Bytes of the layer; 0 when the block is not visible, or the layer is not there or longer than the destination.</returns>
    public int CopyLayer(BlockKey key, int fromEnd, Span<byte> destination)
    {
        if (TryTake(key) is not { } entry)
            return 0;
        try
        {
            if (entry.Layout.Layers - fromEnd is not (>= 0 and var layer) || entry.Layout.LayerBytes(layer) > destination.Length)
                return 0;
            var bytes = Arena.Span(entry.Offset, entry.Length).Slice(entry.Layout.LayerOffset(layer), entry.Layout.LayerBytes(layer));
            bytes.CopyTo(destination);
            return bytes.Length;
        }
        finally
        {
            Release(entry);
        }
    }
}
