using KvCache.Client.Scatter;

namespace KvCache.Client;

/// <summary>
/// Memory between a cache, whose blocks are each in one piece, and an engine that keeps a block in several: one for each layer, for
/// example, where its memory is layer-major. Make it once and use it again: fresh memory is slow.
/// </summary>
/// <remarks>Calls that use the same buffer wait for each other.</remarks>
public sealed class ScatterBuffer : IDisposable
{
    private readonly NativeMemoryBlock _memory;
    private readonly CallTurn _turn;

    /// <summary>Takes the memory.</summary>
    /// <param name="layout">Layout of the blocks.</param>
    /// <param name="blocks">Blocks that it has room for, at least one: so many are asked for at once.</param>
    /// <exception cref="ArgumentException">It would be larger than 2 GiB, or have no block.</exception>
    public ScatterBuffer(KvLayout layout, int blocks)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfLessThan(blocks, 1);
        if ((long)layout.BlockBytes * blocks > Array.MaxLength)
            throw new ArgumentException(
                $"{blocks} blocks of {layout.BlockBytes} bytes are more than {Array.MaxLength} bytes; fewer were expected.",
                nameof(blocks));
        (Layout, Blocks) = (layout, blocks);
        _memory = new NativeMemoryBlock(layout.BlockBytes * blocks);
        _turn = new CallTurn(this, ((IDisposable)_memory).Dispose);
    }

    /// <summary>Layout of the blocks.</summary>
    public KvLayout Layout { get; }

    /// <summary>Blocks that it has room for.</summary>
    public int Blocks { get; }

    /// <summary>Frees the memory, or lets a call that is using it do so at its end. Those that wait for their turn, and later ones, throw
    /// <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose() => _turn.Dispose();

    /// <summary>Room for some layers of a block.</summary>
    internal Memory<byte> MemoryOf(int block, LayerRange range) =>
        _memory.Memory.Slice(block * Layout.BlockBytes, Layout.RangeBytes(range));

    /// <summary>Waits for the calls before; <see cref="Leave"/> ends the turn.</summary>
    internal Task EnterAsync(CancellationToken cancellationToken) => _turn.EnterAsync(cancellationToken);

    internal void Leave() => _turn.Leave();
}
