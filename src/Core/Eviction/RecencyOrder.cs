namespace KvCache.Eviction;

/// <summary>Blocks by last use, tail first: a block that is touched by the same request as the one before it goes just behind that one.</summary>
/// <param name="slots">Slots of the store.</param>
internal sealed class RecencyOrder(int slots)
{
    private readonly SlotLinks _links = new(slots);
    private readonly long[] _request = new long[slots];
    private readonly long[] _touched = new long[slots];
    private SlotList _list = SlotList.Empty;

    /// <summary>Blocks in it.</summary>
    public int Count => _list.Count;

    /// <summary>When a block was touched last.</summary>
    public long Touched(int slot) => _touched[slot];

    public void Add(int slot, int parent, in ChainUse use)
    {
        _touched[slot] = use.Now;
        _request[slot] = use.Request;
        if (parent >= 0 && _request[parent] == use.Request)
            _list.AddOlderThan(_links, parent, slot);
        else
            _list.AddNewest(_links, slot);
    }

    public void Remove(int slot)
    {
        _request[slot] = 0;
        _list.Remove(_links, slot);
    }

    /// <summary>The oldest leaf that nobody holds, or -1. All before a held block are newer than it, so that few are looked at.</summary>
    public int OldestThatCanGo(ResidentTree tree)
    {
        var slot = _list.Oldest;
        while (slot >= 0 && !tree.CanGo(slot))
            slot = _links.Newer[slot];
        return slot;
    }
}
