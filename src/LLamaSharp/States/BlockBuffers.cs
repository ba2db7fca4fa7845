using System.Collections.Concurrent;
using KvCache.Client.Scatter;

namespace KvCache.LLamaSharp.States;

/// <summary>Buffers of one piece each, kept for the next use up to a number.</summary>
/// <param name="blockBytes">Bytes of a block.</param>
/// <param name="pieceBytes">Bytes of a piece; one block at least fits.</param>
internal sealed class BlockBuffers(int blockBytes, long pieceBytes) : IDisposable
{
    private const int Kept = 8;

    private readonly ConcurrentBag<NativeMemoryBlock> _free = [];
    private volatile bool _isDisposed;

    /// <summary>Blocks of a piece.</summary>
    public int BlocksOfPiece { get; } = (int)Math.Clamp(pieceBytes / blockBytes, 1, int.MaxValue / blockBytes);

    public NativeMemoryBlock Rent() => _free.TryTake(out var buffer) ? buffer : new NativeMemoryBlock(BlocksOfPiece * blockBytes);

    public void Return(NativeMemoryBlock buffer)
    {
        if (_isDisposed || _free.Count >= Kept)
            ((IDisposable)buffer).Dispose();
        else
            _free.Add(buffer);
    }

    /// <summary>The blocks of a buffer.</summary>
    public Memory<byte>[] Blocks(NativeMemoryBlock buffer, int count)
    {
        var blocks = new Memory<byte>[count];
        for (var i = 0; i < count; i++)
            blocks[i] = buffer.Memory.Slice(i * blockBytes, blockBytes);
        return blocks;
    }

    public void Dispose()
    {
        _isDisposed = true;
        while (_free.TryTake(out var buffer))
            ((IDisposable)buffer).Dispose();
    }
}
