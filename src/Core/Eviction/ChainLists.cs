namespace KvCache.Eviction;

/// <summary>
/// Lists of blocks by the time they were added, tail first: a block that is added by the same request as the one before it in its chain
/// goes just behind that one, so that a chain loses its end before its start. Every block is in at most one of the lists.
/// </summary>
/// <param name="slots">Slots of the store.</param>
/// <param name="lists">Number of lists.</param>
/// <param name="tailFirst">False for plain order of arrival.</param>
internal sealed class ChainLists(int slots, int lists = 1, bool tailFirst = true)
{
    private readonly SlotLinks _links = new(slots);
    private readonly Place[] _places = new Place[slots];
    private readonly SlotList[] _lists = [.. Enumerable.Repeat(SlotList.Empty, lists)];

    /// <summary>Blocks of a list.</summary>
    public int Count(int list) => _lists[list].Count;

    /// <summary>The list that a block is in.</summary>
    public int ListOf(int slot) => _places[slot].List;

    /// <summary>When a block was added.</summary>
    public long Added(int slot) => _places[slot].Added;

    /// <summary>The oldest block of a list, or -1.</summary>
    public int Oldest(int list) => _lists[list].Oldest;

    /// <summary>The next newer block of the same list, or -1.</summary>
    public int Newer(int slot) => _links.Newer[slot];

    /// <param name="list">The list.</param>
    /// <param name="slot">A block that is in no list.</param>
    /// <param name="parent">The block before it in its chain, or -1.</param>
    /// <param name="use">The request that adds it.</param>
    public void Add(int list, int slot, int parent, in ChainUse use)
    {
        _places[slot] = new Place { Request = use.Request, Added = use.Now, List = list };
        if (tailFirst && parent >= 0 && _places[parent].Request == use.Request && _places[parent].List == list)
            _lists[list].AddOlderThan(_links, parent, slot);
        else
            _lists[list].AddNewest(_links, slot);
    }

    public void Remove(int slot)
    {
        _lists[_places[slot].List].Remove(_links, slot);
        _places[slot] = default;
    }

    /// <summary>Moves a block to the new end of a list.</summary>
    public void Move(int list, int slot)
    {
        _lists[_places[slot].List].Remove(_links, slot);
        _places[slot].List = list;
        _places[slot].Request = 0;
        _lists[list].AddNewest(_links, slot);
    }

    /// <summary>
    /// The oldest block of a list that can go, or -1. Where use is recorded tail first, all that must be passed over is in use, or before
    /// something that is, and therefore little and new.
    /// </summary>
    public int OldestThatCanGo(int list, ResidentTree tree)
    {
        var slot = _lists[list].Oldest;
        while (slot >= 0 && !tree.CanGo(slot))
            slot = _links.Newer[slot];
        return slot;
    }

    private struct Place
    {
        public long Request;
        public long Added;
        public int List;
    }
}
