using System.Diagnostics.CodeAnalysis;

namespace KvCache;

/// <summary>
/// Shape of one block: the K/V tensors of a fixed run of tokens, all layers of one tensor-parallel rank.
/// </summary>
/// <remarks>
/// Bytes are ordered <c>[layer][part][token][head][dim]</c>, so that any run of layers is one contiguous range:
/// a reader can ask for layers 4..8 and get one span, and layers can be handed over as they arrive.
/// A layout is immutable and equal to another when its canonical encoding is.
/// </remarks>
public sealed partial class KvLayout : IEquatable<KvLayout>
{
    /// <summary>Largest block, in bytes: 1 GiB. A bound for parsers, far above what engines use.</summary>
    public const long MaxBlockBytes = 1L << 30;

    /// <summary>Most layers of a block.</summary>
    public const int MaxLayers = 4096;

    private readonly int[]? _offsets; // opaque only: Layers + 1 entries, first 0, last BlockBytes

    private KvLayout(int layers, int heads, int headDim, int parts, KvDataType type, int tokens, int[]? offsets)
    {
        Layers = layers;
        KvHeads = heads;
        HeadDim = headDim;
        Parts = parts;
        DataType = type;
        TokensPerBlock = tokens;
        _offsets = offsets;
    }

    /// <summary>Number of layers.</summary>
    public int Layers { get; }

    /// <summary>Number of key/value heads held by this rank; 0 for an opaque layout.</summary>
    public int KvHeads { get; }

    /// <summary>Elements per head; 0 for an opaque layout.</summary>
    public int HeadDim { get; }

    /// <summary>2 = keys and values, 1 = one latent (MLA); 0 for an opaque layout.</summary>
    public int Parts { get; }

    /// <summary>Element type; <see cref="KvDataType.UInt8"/> for an opaque layout.</summary>
    public KvDataType DataType { get; }

    /// <summary>Tokens of one block.</summary>
    public int TokensPerBlock { get; }

    /// <summary>True when the bytes are the engine's own and only the layer offsets are known.</summary>
    [MemberNotNullWhen(true, nameof(_offsets))]
    public bool IsOpaque => _offsets is not null;

    /// <summary>Bytes of a whole block.</summary>
    public int BlockBytes => LayerOffset(Layers);

    /// <summary>Creates a layout with known tensor shape.</summary>
    /// <param name="layers">Layers, 1 to <see cref="MaxLayers"/>.</param>
    /// <param name="kvHeads">Key/value heads of this rank, at least 1.</param>
    /// <param name="headDim">Elements of a head, at least 1.</param>
    /// <param name="dataType">Element type.</param>
    /// <param name="tokensPerBlock">Tokens of a block, at least 1; 256 unless the engine dictates another.</param>
    /// <param name="parts">2 for K and V, 1 for an MLA latent.</param>
    /// <exception cref="ArgumentOutOfRangeException">A dimension is out of range or the block would exceed <see
    /// cref="MaxBlockBytes"/>.</exception>
    public static KvLayout Create(int layers, int kvHeads, int headDim, KvDataType dataType, int tokensPerBlock = 256, int parts = 2)
    {
        CheckRange(layers, 1, MaxLayers, nameof(layers));
        CheckRange(kvHeads, 1, 1 << 16, nameof(kvHeads));
        CheckRange(headDim, 1, 1 << 16, nameof(headDim));
        CheckRange(tokensPerBlock, 1, 1 << 20, nameof(tokensPerBlock));
        CheckRange(parts, 1, 2, nameof(parts));
        var bytes = (Int128)layers * parts * tokensPerBlock * kvHeads * headDim * dataType.Size();
        if (bytes > MaxBlockBytes)
            throw new ArgumentOutOfRangeException(
                nameof(layers),
                $"A block of this layout would be {bytes:N0} bytes; the largest block is {MaxBlockBytes:N0}. Use fewer tokens per block.");
        return new KvLayout(layers, kvHeads, headDim, parts, dataType, tokensPerBlock, null);
    }

    /// <summary>Creates a layout whose bytes are the engine's own.</summary>
    /// <param name="layerOffsets">
    /// Start of every layer and, as last entry, the size of the block: <c>[0, …, size]</c>, strictly ascending.
    /// </param>
    /// <param name="tokensPerBlock">Tokens of a block, at least 1.</param>
    /// <exception cref="ArgumentException">The table does not start at 0, does not ascend, or is too long or too large.</exception>
    public static KvLayout Opaque(ReadOnlySpan<int> layerOffsets, int tokensPerBlock)
    {
        CheckRange(tokensPerBlock, 1, 1 << 20, nameof(tokensPerBlock));
        if (layerOffsets.Length < 2 || layerOffsets.Length > MaxLayers + 1)
            throw new ArgumentException(
                $"An opaque layout takes 2 to {MaxLayers + 1} offsets (every layer's start and the block size), got {layerOffsets.Length}.",
                nameof(layerOffsets));
        if (layerOffsets[0] != 0)
            throw new ArgumentException($"The first layer of an opaque layout starts at 0, got {layerOffsets[0]}.", nameof(layerOffsets));
        for (var i = 1; i < layerOffsets.Length; i++)
        {
            if (layerOffsets[i] <= layerOffsets[i - 1])
                throw new ArgumentException(
                    $"Layer offsets ascend; entry {i} is {layerOffsets[i]} after {layerOffsets[i - 1]}.", nameof(layerOffsets));
        }

        CheckRange(layerOffsets[^1], 1, (int)MaxBlockBytes, nameof(layerOffsets));
        return new KvLayout(layerOffsets.Length - 1, 0, 0, 0, KvDataType.UInt8, tokensPerBlock, layerOffsets.ToArray());
    }

    /// <summary>Opaque layout of one layer.</summary>
    /// <param name="blockBytes">Bytes of a block.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    public static KvLayout Opaque(int blockBytes, int tokensPerBlock) => Opaque([0, blockBytes], tokensPerBlock);

    /// <summary>All layers.</summary>
    public LayerRange AllLayers => new(0, Layers);

    /// <summary>Offset in bytes of a layer; <paramref name="layer"/> = <see cref="Layers"/> gives the size of the block.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The layer is outside the block.</exception>
    public int LayerOffset(int layer)
    {
        CheckRange(layer, 0, Layers, nameof(layer));
        return _offsets is not null ? _offsets[layer] : layer * (Parts * TokensPerBlock * KvHeads * HeadDim * DataType.Size());
    }

    /// <summary>Bytes of one layer.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The layer is outside the block.</exception>
    public int LayerBytes(int layer) => LayerOffset(layer + 1) - LayerOffset(layer);

    /// <summary>Bytes of a run of layers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The run is outside the block.</exception>
    public int RangeBytes(LayerRange range) => LayerOffset(range.End) - LayerOffset(range.First);

    /// <summary>Offset of a layer in a run of layers, in bytes.</summary>
    public int OffsetIn(LayerRange range, int layer) => LayerOffset(layer) - LayerOffset(range.First);

    /// <summary>Whether a run of layers is not empty and lies inside the block.</summary>
    public bool Contains(LayerRange range) =>
        range is { First: >= 0, Count: > 0 } && range.Count <= Layers && range.First <= Layers - range.Count;

    /// <inheritdoc/>
    public bool Equals(KvLayout? other) =>
        other is not null && Layers == other.Layers && KvHeads == other.KvHeads && HeadDim == other.HeadDim && Parts == other.Parts
        && DataType == other.DataType && TokensPerBlock == other.TokensPerBlock
        && (_offsets ?? []).AsSpan().SequenceEqual(other._offsets ?? []) && IsOpaque == other.IsOpaque;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as KvLayout);

    /// <inheritdoc/>
    public override int GetHashCode() =>
        HashCode.Combine(Layers, KvHeads, HeadDim, Parts, DataType, TokensPerBlock, _offsets?.Length, BlockBytes);

    /// <inheritdoc/>
    public override string ToString() => IsOpaque
        ? $"opaque: {Layers} layers, {BlockBytes:N0} bytes, {TokensPerBlock} tokens"
        : $"[{Layers} layers][{Parts}][{TokensPerBlock} tokens][{KvHeads} heads][{HeadDim}] {DataType}, {BlockBytes:N0} bytes";

    private static void CheckRange(int value, int min, int max, string name)
    {
        if (value < min || value > max)
            throw new ArgumentOutOfRangeException(name, value, $"Expected {name} between {min:N0} and {max:N0}.");
    }
}
