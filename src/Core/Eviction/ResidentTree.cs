namespace KvCache.Eviction;

/// <summary>The prefix tree over the resident blocks, as arrays by slot: who is a leaf, and who must stay.</summary>
/// <param name="slots">Slots of the store.</param>
internal sealed class ResidentTree(int slots)
{
    private PagedArray<Node> _nodes = new(slots);

    private struct Node
    {
        public int Parent; // slot + 2; 1 = none; 0 = the block is not resident
        public int Children; // resident ones, also of a block that is not
        public int Holds;
    }

    /// <summary>How often it was asked who can go.</summary>
    public long Steps { get; private set; }

    public void Grow(int slots) => _nodes.Grow(slots);

    public void Add(int slot, int parent)
    {
        _nodes[slot].Parent = parent + 2;
        if (parent >= 0)
            _nodes[parent].Children++;
    }

    /// <summary>Slot of the block before it, or -1.</summary>
    public int ParentOf(int slot) => Math.Max(-1, _nodes[slot].Parent - 2);

    /// <returns>The parent if the removal made it a leaf, else -1.</returns>
    public int Remove(int slot)
    {
        var parent = ParentOf(slot);
        (_nodes[slot].Parent, _nodes[slot].Holds) = (0, 0);
        return parent >= 0 && --_nodes[parent].Children == 0 ? parent : -1;
    }

    /// <summary>Whether it can go: a leaf that nobody holds. What comes before a held block is no leaf.</summary>
    public bool CanGo(int slot)
    {
        Steps++;
        ref readonly var node = ref _nodes[slot];
        return (node.Children | node.Holds) == 0 && node.Parent != 0;
    }

    public void Hold(int slot) => _nodes[slot].Holds++;

    public void Release(int slot) => _nodes[slot].Holds--;
}
