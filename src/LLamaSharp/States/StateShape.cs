using System.Buffers.Binary;

namespace KvCache.LLamaSharp.States;

/// <summary>Keys or values of one layer, as a sequence state of llama.cpp has them.</summary>
/// <param name="Type">Element type, a number of ggml.</param>
/// <param name="RowBytes">Bytes of a token.</param>
/// <param name="ElementBytes">Bytes of an element of a transposed matrix; 0 for rows of whole tokens.</param>
internal readonly record struct MatrixShape(int Type, long RowBytes, int ElementBytes)
{
    /// <summary>Bytes of what stands before the data: type and row size, or type, element size and columns.</summary>
    public const int HeaderBytes = 12;
}

/// <summary>One of the caches of a state: models with sliding windows have two.</summary>
internal sealed record CacheShape(bool IsTransposed, IReadOnlyList<MatrixShape> Keys, IReadOnlyList<MatrixShape> Values);

/// <summary>
/// What a sequence state of llama.cpp is made of, for any number of cells (tokens). Read once, from a state that the context itself gave.
/// </summary>
/// <remarks>
/// The format: u32 magic, u32 sequence; then for each cache u32 streams (1), u32 cells, per cell i32 position, u32 sequences (1), i32
/// sequence; u32 whether V is transposed, u32 layers; K of each layer: i32 type, u64 bytes of a row, rows; V of each layer: the same, or
/// transposed i32 type, u32 bytes of an element, u32 columns, columns of cells. Little-endian. Source: <c>llama_kv_cache::state_write</c>
/// in llama.cpp's src/llama-kv-cache.cpp.
/// </remarks>
internal sealed record StateShape(uint Magic, IReadOnlyList<CacheShape> Caches)
{
    public const int HeaderBytes = 8;
    public const int CellBytes = 12;

    private const int MaxCaches = 8;
    private const int MaxLayers = 4096;

    /// <summary>Reads the shape off a state.</summary>
    /// <param name="state">A state of a sequence with tokens at positions 0, 1, … .</param>
    /// <param name="cells">Tokens that the sequence has.</param>
    /// <exception cref="FormatException">It is not of the form that is known.</exception>
    public static StateShape Parse(ReadOnlySpan<byte> state, int cells)
    {
        var reader = new Reader(state);
        var magic = reader.UInt32();
        reader.UInt32(); // the sequence that it was taken from
        var caches = new List<CacheShape>();
        while (reader.Left > 0)
        {
            if (caches.Count == MaxCaches)
                throw new FormatException($"it has more than {MaxCaches} caches");
            caches.Add(ParseCache(ref reader, cells));
        }

        return caches.Count > 0 ? new StateShape(magic, caches) : throw new FormatException("it has no cache");
    }

    /// <summary>Whether another state is of the same shape.</summary>
    public bool IsLike(StateShape other) =>
        Magic == other.Magic && Caches.Count == other.Caches.Count && Caches.Zip(other.Caches).All(pair =>
            pair.First.IsTransposed == pair.Second.IsTransposed && pair.First.Keys.SequenceEqual(pair.Second.Keys)
            && pair.First.Values.SequenceEqual(pair.Second.Values));

    private static CacheShape ParseCache(ref Reader reader, int cells)
    {
        reader.Expect("streams", 1);
        reader.Expect("cells", (uint)cells);
        for (var i = 0; i < cells; i++)
        {
            reader.Expect("a position", (uint)i);
            reader.Expect("sequences of a cell", 1);
            reader.UInt32();
        }

        var isTransposed = reader.UInt32() switch
        {
            0 => false,
            1 => true,
            var other => throw new FormatException($"{other} is where 0 or 1 says whether V is transposed"),
        };
        var layers = reader.UInt32();
        if (layers is < 1 or > MaxLayers)
            throw new FormatException($"it has {layers} layers");
        var keys = new MatrixShape[layers];
        var values = new MatrixShape[layers];
        for (var i = 0; i < layers; i++)
            keys[i] = reader.Rows(cells);
        for (var i = 0; i < layers; i++)
            values[i] = isTransposed ? reader.Columns(cells) : reader.Rows(cells);
        return new CacheShape(isTransposed, keys, values);
    }

    private ref struct Reader(ReadOnlySpan<byte> state)
    {
        private readonly ReadOnlySpan<byte> _state = state;
        private int _at;

        public readonly int Left => _state.Length - _at;

        public uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint)));

        public void Expect(string what, uint value)
        {
            if (UInt32() is var read && read != value)
                throw new FormatException($"{what}: {read} where {value} was expected, at byte {_at - sizeof(uint)}");
        }

        public MatrixShape Rows(int cells)
        {
            var type = (int)UInt32();
            var row = BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong)));
            return Data(new MatrixShape(type, (long)row, 0), cells);
        }

        public MatrixShape Columns(int cells)
        {
            var type = (int)UInt32();
            var element = UInt32();
            var columns = UInt32();
            return Data(new MatrixShape(type, (long)element * columns, (int)element), cells);
        }

        private MatrixShape Data(MatrixShape shape, int cells)
        {
            if (shape.RowBytes < 1 || shape.RowBytes * cells > Left)
                throw new FormatException($"a row of {shape.RowBytes} bytes, with {Left} bytes left for {cells} of them");
            Take((int)shape.RowBytes * cells);
            return shape;
        }

        private ReadOnlySpan<byte> Take(int bytes)
        {
            if (bytes > Left)
                throw new FormatException($"it ends at byte {_state.Length}");
            _at += bytes;
            return _state.Slice(_at - bytes, bytes);
        }
    }
}
