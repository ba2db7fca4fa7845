using System.Threading.Tasks.Sources;

namespace KvCache.Client.Cluster;

/// <summary>
/// Where the layers of a load meet: those who load blocks say what has arrived, the one who reads waits for the next layer. A layer is
/// announced when every block that can still be had has it.
/// </summary>
/// <remarks>
/// A block comes from one generation: once a layer was announced, a block that is lost stays lost; before, another silo may begin with it
/// anew.
/// Thread-safe; one reader.
/// </remarks>
internal sealed class LayerBoard : IValueTaskSource<LoadedLayer>
{
    private readonly Lock _lock = new();
    private readonly LayerRange _range;
    private readonly int[] _arrived; // layers of each block
    private int _end; // blocks behind it are lost
    private MissReason _reason;
    private bool _announced;
    // nobody computes on a connection's thread
    private ManualResetValueTaskSourceCore<LoadedLayer> _waiting = new() { RunContinuationsAsynchronously = true };
    private bool _isWaiting;
    private int _wanted; // layer that the reader waits for

    /// <summary>Begins a load.</summary>
    /// <param name="blocks">Number of blocks.</param>
    /// <param name="range">Layers.</param>
    public LayerBoard(int blocks, LayerRange range)
    {
        _range = range;
        _arrived = new int[blocks];
        _end = blocks;
    }

    /// <summary>The first block that does not have all its layers; the number of blocks when all have.</summary>
    public int FirstIncomplete
    {
        get
        {
            lock (_lock)
                return CountWith(_range.Count, _arrived.Length);
        }
    }

    /// <summary>A layer is complete in some blocks.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="of">Blocks that one silo gives, ascending.</param>
    /// <param name="count">How many of them have the layer, from the first on.</param>
    public void Arrived(int layer, IReadOnlyList<int> of, int count)
    {
        lock (_lock)
        {
            for (var i = 0; i < count; i++)
                _arrived[of[i]] = layer - _range.First + 1;
            Wake();
        }
    }

    /// <summary>Nobody who is asked now gives these blocks.</summary>
    /// <returns>Whether another silo may begin with them anew. When not, they and all behind them are lost.</returns>
    public bool TryRestart(IEnumerable<int> lost, MissReason reason)
    {
        lock (_lock)
        {
            foreach (var block in lost)
            {
                if (_announced)
                {
                    Lose(block, reason);
                    return false;
                }

                _arrived[block] = 0;
            }

            return true;
        }
    }

    /// <summary>Blocks from one on cannot be had.</summary>
    public void GiveUp(int from, MissReason reason)
    {
        lock (_lock)
            Lose(from, reason);
    }

    /// <summary>Nothing arrives any more.</summary>
    public void Finish(MissReason reason)
    {
        lock (_lock)
            Lose(CountWith(_range.Count, _end), reason);
    }

    /// <summary>Waits until a layer is complete in every block that can be had. Asked for in order, one at a time.</summary>
    public ValueTask<LoadedLayer> NextAsync(int layer)
    {
        lock (_lock)
        {
            _wanted = layer;
            if (TryAnnounce(out var loaded))
                return new ValueTask<LoadedLayer>(loaded);
            _waiting.Reset();
            _isWaiting = true;
            return new ValueTask<LoadedLayer>(this, _waiting.Version);
        }
    }

    LoadedLayer IValueTaskSource<LoadedLayer>.GetResult(short token) => _waiting.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<LoadedLayer>.GetStatus(short token) => _waiting.GetStatus(token);

    void IValueTaskSource<LoadedLayer>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _waiting.OnCompleted(continuation, state, token, flags);

    private void Lose(int from, MissReason reason)
    {
        if (from >= _end)
            return;
        _end = from;
        _reason = reason;
        Wake();
    }

    private void Wake()
    {
        if (!_isWaiting || !TryAnnounce(out var loaded))
            return;
        _isWaiting = false;
        _waiting.SetResult(loaded);
    }

    private bool TryAnnounce(out LoadedLayer loaded)
    {
        loaded = new LoadedLayer(_wanted, _end, _end == _arrived.Length ? MissReason.None : _reason);
        if (CountWith(_wanted - _range.First + 1, _end) < _end)
            return false;
        _announced = true;
        return true;
    }

    private int CountWith(int layers, int end)
    {
        var count = 0;
        while (count < end && _arrived[count] >= layers)
            count++;
        return count;
    }
}
