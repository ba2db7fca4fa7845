using KvCache.Checksums;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Telemetry;

namespace KvCache.Silo.Values;

/// <summary>
/// A value on its way from a socket into the arena. It is filled from the front, and its checksum is computed while its bytes are still
/// in the processor's cache. Disposing it before <see cref="Finish"/> leaves no trace.
/// </summary>
internal sealed class ValueWrite : IDisposable
{
    private readonly BlockWriter _writer;
    private readonly SiloCounters _counters;
    private readonly PendingBlock _block;
    private readonly int _length;
    private int _received;
    private uint _checksum;

    internal ValueWrite(BlockWriter writer, SiloCounters counters, PendingBlock block, int length, ReadOnlySpan<byte> label)
    {
        _writer = writer;
        _counters = counters;
        _block = block;
        _length = length;
        if (block.Write is not { } write)
            return;
        label.CopyTo(write.Bytes[length..]);
        write.Checksums[^1] = BlockChecksum.Compute(label);
    }

    /// <summary>False when no memory could be had: the bytes have to be received and forgotten.</summary>
    public bool HasMemory => _block.Write is not null;

    /// <summary>Bytes of the value.</summary>
    public int Length => _length;

    /// <summary>CRC-32 of what has come so far.</summary>
    public uint Checksum => _checksum;

    /// <summary>Bytes that are still to come.</summary>
    public int Missing => _length - _received;

    /// <summary>Where the next bytes go: at most <see cref="FrameSocket.ChunkBytes"/> of the value's memory.</summary>
    public Span<byte> Next => _block.Write!.Bytes.Slice(_received, Math.Min(Missing, FrameSocket.ChunkBytes));

    /// <summary>What has come so far.</summary>
    public ReadOnlySpan<byte> Written => _block.Write is { } write ? write.Bytes[.._received] : default;

    /// <summary>Writes bytes behind what has come so far.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var next = Next;
            var piece = bytes[..Math.Min(bytes.Length, next.Length)];
            piece.CopyTo(next);
            Advance(piece.Length);
            bytes = bytes[piece.Length..];
        }
    }

    /// <summary>Takes notice of bytes that were written to the front of <see cref="Next"/>.</summary>
    public void Advance(int bytes)
    {
        _checksum = BlockChecksum.Append(_checksum, _block.Write!.Bytes.Slice(_received, bytes));
        _received += bytes;
    }

    /// <summary>Makes the value visible, when it is complete. Blocks the thread.</summary>
    public PutOutcome Finish(BlockTerms terms)
    {
        if (Missing > 0 && HasMemory)
            throw new InvalidOperationException($"{Missing} bytes of the value are missing.");
        if (_length > 0 && _block.Write is { } write)
            write.Checksums[0] = _checksum;
        var outcome = _writer.Finish(_block, terms, CancellationToken.None);
        _counters.Put(outcome);
        return outcome;
    }

    /// <summary>Gives the memory back unless the value was published.</summary>
    public void Dispose() => _block.Write?.Dispose();
}
