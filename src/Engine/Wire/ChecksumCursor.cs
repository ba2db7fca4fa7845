using KvCache.Checksums;

namespace KvCache.Engine.Wire;

/// <summary>
/// Computes the CRC-32 of every layer of a run while its bytes pass by in pieces of any size, so that they are read
/// while they are still in the processor's cache.
/// </summary>
internal ref struct ChecksumCursor
{
    private readonly KvLayout _layout;
    private readonly Span<uint> _checksums;
    private readonly int _first;
    private int _index;
    private int _left;
    private uint _crc;

    /// <summary>Starts at the first byte of a run.</summary>
    /// <param name="layout">Shape of the block.</param>
    /// <param name="range">Layers of the run.</param>
    /// <param name="checksums">Receives one checksum a layer.</param>
    public ChecksumCursor(KvLayout layout, LayerRange range, Span<uint> checksums)
    {
        _layout = layout;
        _first = range.First;
        _checksums = checksums[..range.Count];
        _left = layout.LayerBytes(range.First);
    }

    /// <summary>Layers that have passed by, from the first of the run on.</summary>
    public readonly int Completed => _index;

    /// <summary>Takes the next bytes of the run.</summary>
    public void Advance(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var piece = bytes[..Math.Min(bytes.Length, _left)];
            _crc = BlockChecksum.Append(_crc, piece);
            bytes = bytes[piece.Length..];
            _left -= piece.Length;
            if (_left > 0)
                return;
            _checksums[_index++] = _crc;
            _crc = 0;
            if (_index < _checksums.Length)
                _left = _layout.LayerBytes(_first + _index);
        }
    }
}
