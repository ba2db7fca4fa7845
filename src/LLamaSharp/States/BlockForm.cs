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
    private readonly List<int> _cells = [];

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
            _cells.Add((int)at);
            at += (long)tokens * StateShape.CellBytes;
            Add(cache.IsTransposed ? 1u : 0, (uint)cache.Keys.Count);
            foreach (var matrix in cache.Keys.Concat(cache.Values))
            {
                if (matrix.ElementBytes == 0)
                    Add((uint)matrix.Type, (uint)matrix.RowBytes, (uint)(matrix.RowBytes >> 32));
                else
                    Add((uint)matrix.Type, (uint)matrix.ElementBytes, (uint)(matrix.RowBytes / matrix.ElementBytes));
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

    /// <summary>Makes the same block of the same tokens, whichever sequence it was taken from.</summary>
    public void Normalize(Span<byte> block)
    {
        block.Slice(SequenceAt, sizeof(uint)).Clear();
        foreach (var cells in _cells)
        {
            for (var i = 0; i < _tokens; i++)
                block.Slice(cells + (i * StateShape.CellBytes) + CellSequenceAt, sizeof(uint)).Clear();
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
        foreach (var cells in _cells)
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
            if (!_cells.Contains(end))
                block[end..offset].Clear();
            end = offset + bytes.Length;
        }

        block[end..].Clear();
    }
}
