namespace KvCache.Eviction;

/// <summary>The prefix tree over the resident blocks, as arrays by slot: who is a leaf, and who must stay.</summary>
/// <param name="slots">Slots of the store.</param>
internal sealed class ResidentTree(int slots)
{
    private readonly Node[] _nodes = new Node[slots];

    private struct Node
    {
        public int Parent; // slot + 1; 0 = none
        public int Children;
        public int Holds;
    }

    public void Add(int slot, int parent)
    {
        _nodes[slot] = new Node { Parent = parent + 1 };
        if (parent >= 0)
            _nodes[parent].Children++;
    }

    /// <summary>Slot of the block before it, or -1.</summary>
    public int ParentOf(int slot) => _nodes[slot].Parent - 1;

    /// <returns>The parent if the removal made it a leaf, else -1.</returns>
    public int Remove(int slot)
    {
        var parent = _nodes[slot].Parent - 1;
        _nodes[slot] = default;
        return parent >= 0 && --_nodes[parent].Children == 0 ? parent : -1;
    }

    /// <summary>Whether nothing resident comes behind it.</summary>
    public bool IsLeaf(int slot) => _nodes[slot].Children == 0;

    /// <summary>Whether it can go: a leaf that nobody holds. What comes before a held block is no leaf.</summary>
    public bool CanGo(int slot) => (_nodes[slot].Children | _nodes[slot].Holds) == 0;

    public void Hold(int slot) => _nodes[slot].Holds++;

    public void Release(int slot) => _nodes[slot].Holds--;
}
