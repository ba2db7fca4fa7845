using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>Passes on what one silo gives of a load's blocks.</summary>
/// <param name="board">Where layers meet.</param>
/// <param name="blocks">The blocks that the silo is asked for, ascending.</param>
/// <param name="giveUp">Whether nobody else is asked for the blocks that this silo does not have.</param>
internal sealed class LayerSource(LayerBoard board, IReadOnlyList<int> blocks, bool giveUp = false) : ILayerSink
{
    private readonly TaskCompletionSource<int> _promise = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes with the number of blocks that the silo has; never when it fails before.</summary>
    public Task<int> Promise => _promise.Task;

    /// <summary>Blocks that have the last layer that came, from the first on.</summary>
    public int Intact { get; private set; }

    public void Promised(int count)
    {
        Intact = count;
        if (giveUp && count < blocks.Count)
            board.GiveUp(blocks[count], MissReason.Absent);
        _promise.TrySetResult(count);
    }

    public void Arrived(int layer, int count)
    {
        Intact = count;
        board.Arrived(layer, blocks, count);
    }
}
