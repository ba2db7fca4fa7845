using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KvCache.LLamaSharp.States;

/// <summary>
/// The state of a block's tokens, byte by byte: which of them say what follows, and what they must say. llama.cpp believes these when it
/// reads a state (a count of cells of 2^31 hangs it, positions may repeat), so none of them ever comes from a cache unseen.
/// </summary>
internal sealed class BlockForm
{
    private const int SequenceAt = 4; // in the header
    private const int CellSequenceAt = 8; // in a cell

    private readonly int _tokens;
    private readonly List<(int Offset, byte[] Bytes)> _fixed = [];
    private readonly List<CacheForm> _caches = [];

    /// <param name="shape">What states of the context are made of.</param>
    /// <param name="tokens">Tokens of a block.</param>
    /// <exception cref="ArgumentException">A block would be larger than any cache takes.</exception>
    public BlockForm(StateShape shape, int tokens)
    {
        _tokens = tokens;
        var at = 0L;
        Add(shape.Magic, 0);
        foreach (var cache in shape.Caches)
        {
            Add(1, (uint)tokens);
            var form = new CacheForm((int)at, []);
            _caches.Add(form);
            at += (long)tokens * StateShape.CellBytes;
            Add(cache.IsTransposed ? 1u : 0, (uint)cache.Keys.Count);
            foreach (var matrix in cache.Keys.Concat(cache.Values))
            {
                if (matrix.ElementBytes == 0)
                    Add((uint)matrix.Type, (uint)matrix.RowBytes, (uint)(matrix.RowBytes >> 32));
                else
                    Add((uint)matrix.Type, (uint)matrix.ElementBytes, (uint)(matrix.RowBytes / matrix.ElementBytes));
                form.Matrices.Add(((int)Math.Min(at, int.MaxValue), matrix));
                at += matrix.RowBytes * tokens;
                if (at > KvLayout.MaxBlockBytes)
                    throw new ArgumentException(
                        $"A block of {tokens} tokens has more than {KvLayout.MaxBlockBytes:N0} bytes of this model's KV; fewer tokens in a "
                        + "block were expected.",
                        nameof(tokens));
            }
        }

        Bytes = (int)at;

        void Add(params ReadOnlySpan<uint> words)
        {
            var bytes = MemoryMarshal.AsBytes(words).ToArray();
            _fixed.Add(((int)at, bytes));
            at += bytes.Length;
        }
    }

    /// <summary>Bytes of a block.</summary>
    public int Bytes { get; }

    /// <summary>
    /// Makes the same block of the same tokens, whichever sequence it was taken from, and in whichever cells they were: llama.cpp lists
    /// cells in its own order, which is not that of the positions where cells are used again.
    /// </summary>
    /// <param name="block">A block, as llama.cpp gave it.</param>
    /// <param name="firstPosition">Position of its first token.</param>
    public void Normalize(Span<byte> block, int firstPosition)
    {
        block.Slice(SequenceAt, sizeof(uint)).Clear();
        var tokens = new int[_tokens];
        foreach (var cache in _caches)
        {
            var cells = block.Slice(cache.Cells, _tokens * StateShape.CellBytes);
            var isSorted = true;
            for (var i = 0; i < _tokens; i++)
            {
                var cell = cells.Slice(i * StateShape.CellBytes, StateShape.CellBytes);
                cell.Slice(CellSequenceAt, sizeof(uint)).Clear();
                tokens[i] = BinaryPrimitives.ReadInt32LittleEndian(cell) - firstPosition;
                isSorted &= tokens[i] == i;
            }

            if (!isSorted && IsPermutation(tokens))
                cache.Sort(block, tokens);
        }
    }

    /// <summary>Whether everything that is not KV says what it must.</summary>
    /// <param name="block">A block, normalized.</param>
    /// <param name="firstPosition">Position of its first token.</param>
    public bool Fits(ReadOnlySpan<byte> block, int firstPosition)
    {
        if (block.Length != Bytes)
            return false;
        foreach (var (offset, bytes) in _fixed)
        {
            if (!block.Slice(offset, bytes.Length).SequenceEqual(bytes))
                return false;
        }

        Span<byte> cell = stackalloc byte[StateShape.CellBytes];
        cell.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(cell[4..], 1);
        foreach (var (cells, _) in _caches)
        {
            for (var i = 0; i < _tokens; i++)
            {
                BinaryPrimitives.WriteInt32LittleEndian(cell, firstPosition + i);
                if (!block.Slice(cells + (i * StateShape.CellBytes), cell.Length).SequenceEqual(cell))
                    return false;
            }
        }

        return true;
    }

    /// <summary>Overwrites the KV, and leaves the rest: for controls in tests.</summary>
    public void Zero(Span<byte> block)
    {
        var end = 0;
        foreach (var (offset, bytes) in _fixed)
        {
            if (!_caches.Exists(cache => cache.Cells == end))
                block[end..offset].Clear();
            end = offset + bytes.Length;
        }

        block[end..].Clear();
    }

    private static bool IsPermutation(ReadOnlySpan<int> tokens)
    {
        var seen = new bool[tokens.Length];
        foreach (var token in tokens)
        {
            if ((uint)token >= (uint)seen.Length || seen[token])
                return false;
            seen[token] = true;
        }

        return true;
    }

    /// <summary>Where the cells and the KV of one cache are.</summary>
    private sealed record CacheForm(int Cells, List<(int Offset, MatrixShape Shape)> Matrices)
    {
        /// <summary>Puts everything that belongs to the i-th cell to the place of a token.</summary>
        public void Sort(Span<byte> block, ReadOnlySpan<int> tokens)
        {
            SortValues(block.Slice(Cells, tokens.Length * StateShape.CellBytes), tokens);
            foreach (var (offset, shape) in Matrices)
            {
                var bytes = shape.ElementBytes == 0 ? shape.RowBytes : shape.ElementBytes;
                var columns = shape.RowBytes / bytes;
                for (var column = 0; column < columns; column++)
                    SortValues(block.Slice((int)(offset + (column * bytes * tokens.Length)), (int)bytes * tokens.Length), tokens);
            }
        }

        private static void SortValues(Span<byte> values, ReadOnlySpan<int> tokens)
        {
            var size = values.Length / tokens.Length;
            var copy = ArrayPool<byte>.Shared.Rent(values.Length);
            values.CopyTo(copy);
            for (var i = 0; i < tokens.Length; i++)
                copy.AsSpan(i * size, size).CopyTo(values[(tokens[i] * size)..]);
            ArrayPool<byte>.Shared.Return(copy);
        }
    }
}
