namespace KvCache.Engine.Wire;

/// <summary>
/// What one frame of a layer-major answer carries: a run of layers of all blocks, or, where a layer of all blocks is too much for a frame,
/// one layer of a run of blocks. Inside a frame the layers follow one another, each block by block.
/// </summary>
/// <param name="Layer">First layer.</param>
/// <param name="Layers">Number of layers.</param>
/// <param name="Block">First block, as an index into the answer.</param>
/// <param name="Blocks">Number of blocks.</param>
internal readonly record struct LayerFrame(int Layer, int Layers, int Block, int Blocks)
{
    /// <summary>Most pieces, one a block and layer: a frame leaves in one <c>sendmsg</c>, which takes 1,024.</summary>
    public const int MaxPieces = 256;

    // Small layers share a frame up to this many bytes: a wake-up of the reader costs as much as moving them.
    private const int SharedBytes = 128 * 1024;

    private const int MostBytes = 64 << 20;

    /// <summary>Pieces of the frame.</summary>
    public int Pieces => Layers * Blocks;

    /// <summary>Index behind the last block.</summary>
    public int EndBlock => Block + Blocks;

    /// <summary>The next frame of an answer.</summary>
    /// <param name="layout">Shape of the blocks.</param>
    /// <param name="rest">Layers from the one that is not complete on; at least one. Those that may be sent now.</param>
    /// <param name="block">First block that lacks the first of these layers.</param>
    /// <param name="of">Blocks of the answer.</param>
    /// <param name="alone">Whether the layer is wanted at once and shares its frame with no other: so is the first one of an
    /// answer.</param>
    public static LayerFrame Next(KvLayout layout, LayerRange rest, int block, int of, bool alone)
    {
        var bytes = Math.Max(1, layout.LayerBytes(rest.First));
        var blocks = Math.Min(Math.Min(of - block, MaxPieces), Math.Max(1, MostBytes / bytes));
        if (block > 0 || blocks < of || alone)
            return new LayerFrame(rest.First, 1, block, blocks);
        var layers = 1;
        for (var total = (long)bytes * of; layers < rest.Count && (layers + 1) * of <= MaxPieces; layers++)
        {
            total += (long)layout.LayerBytes(rest.First + layers) * of;
            if (total > SharedBytes)
                break;
        }

        return new LayerFrame(rest.First, layers, 0, of);
    }

    /// <summary>Bytes of the payload.</summary>
    /// <param name="layout">Shape of the blocks.</param>
    public long PayloadBytes(KvLayout layout) => (long)layout.RangeBytes(new LayerRange(Layer, Layers)) * Blocks;
}
