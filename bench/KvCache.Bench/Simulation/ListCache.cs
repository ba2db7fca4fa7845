namespace KvCache.Bench.Simulation;

/// <summary>A cache that evicts from the old end of one list: FIFO or LRU.</summary>
/// <param name="capacity">Blocks that it holds.</param>
/// <param name="order">What makes a block new again.</param>
internal sealed class ListCache(int capacity, ListOrder order) : ISimulatedCache
{
    private readonly Dictionary<int, LinkedListNode<int>> _nodes = [];
    private readonly LinkedList<int> _blocks = new(); // oldest first

    public int Serve(ReadOnlySpan<int> chain)
    {
        var hits = 0;
        while (hits < chain.Length && _nodes.ContainsKey(chain[hits]))
            hits++;
        if (order == ListOrder.TailFirst)
            TouchBackwards(chain);
        foreach (var block in chain)
        {
            if (!_nodes.ContainsKey(block))
                Insert(block);
            else if (order == ListOrder.Used)
                Touch(block);
        }

        if (order == ListOrder.TailFirst)
            TouchBackwards(chain);
        return hits;
    }

    public void Dispose()
    {
    }

    // Deeper blocks become older than shallower ones: without its start a chain is worth nothing.
    private void TouchBackwards(ReadOnlySpan<int> chain)
    {
        for (var i = chain.Length - 1; i >= 0; i--)
        {
            if (_nodes.ContainsKey(chain[i]))
                Touch(chain[i]);
        }
    }

    private void Touch(int block)
    {
        var node = _nodes[block];
        _blocks.Remove(node);
        _blocks.AddLast(node);
    }

    private void Insert(int block)
    {
        if (_blocks.Count == capacity)
        {
            _nodes.Remove(_blocks.First!.Value);
            _blocks.RemoveFirst();
        }

        _nodes.Add(block, _blocks.AddLast(block));
    }
}

/// <summary>Order of a <see cref="ListCache"/>.</summary>
internal enum ListOrder
{
    /// <summary>FIFO: a block stays where it was inserted.</summary>
    Inserted,

    /// <summary>LRU: a touch makes a block new.</summary>
    Used,

    /// <summary>LRU, and of the blocks that a request touches the deeper ones become older than the shallower ones.</summary>
    TailFirst,
}
