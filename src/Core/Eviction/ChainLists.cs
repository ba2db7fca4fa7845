namespace KvCache.Eviction;

/// <summary>
/// Lists of blocks by the time they were added, tail first: a block that is added by the same request as the one before it in its chain
/// goes just behind that one, so that a chain loses its end before its start. Every block is in at most one of the lists.
/// </summary>
/// <remarks>
/// A block at the old end that cannot go is set aside until it can: it is passed over once, and not by every victim that is looked for.
/// </remarks>
/// <param name="slots">Slots of the store.</param>
/// <param name="lists">Number of lists.</param>
/// <param name="tailFirst">False for plain order of arrival.</param>
internal sealed class ChainLists(int slots, int lists = 1, bool tailFirst = true)
{
    private const int MostSteps = 16; // of a block that comes back among the oldest, where its place is not the very end

    private readonly SlotLinks _links = new(slots);
    private readonly SlotList[] _lists = [.. Enumerable.Repeat(SlotList.Empty, lists)];
    private readonly int[] _counts = new int[lists]; // what is set aside included
    private PagedArray<Place> _places = new(slots);

    /// <summary>Makes room for more slots.</summary>
    public void Grow(int slots)
    {
        _links.Grow(slots);
        _places.Grow(slots);
    }

    /// <summary>Blocks of a list.</summary>
    public int Count(int list) => _counts[list];

    /// <summary>The list that a block is in.</summary>
    public int ListOf(int slot) => _places[slot].List;

    /// <summary>When a block was added.</summary>
    public long Added(int slot) => _places[slot].Added;

    /// <summary>The oldest block of a list that is not set aside, or -1.</summary>
    public int Oldest(int list) => _lists[list].Oldest;

    /// <param name="list">The list.</param>
    /// <param name="slot">A block that is in no list.</param>
    /// <param name="parent">The block before it in its chain, or -1.</param>
    /// <param name="use">The request that adds it.</param>
    public void Add(int list, int slot, int parent, in ChainUse use)
    {
        _places[slot] = new Place { Request = use.Request, Added = use.Now, List = list };
        _counts[list]++;
        if (tailFirst && parent >= 0 && _places[parent].Request == use.Request && _places[parent].List == list && !_places[parent].Aside)
            _lists[list].AddOlderThan(_links, parent, slot);
        else
            _lists[list].AddNewest(_links, slot);
    }

    public void Remove(int slot)
    {
        Unlink(slot);
        _counts[_places[slot].List]--;
        _places[slot] = default;
    }

    /// <summary>Moves a block to the new end of a list.</summary>
    public void Move(int list, int slot)
    {
        Unlink(slot);
        _counts[_places[slot].List]--;
        _counts[list]++;
        (_places[slot].List, _places[slot].Request, _places[slot].Aside) = (list, 0, false);
        _lists[list].AddNewest(_links, slot);
    }

    /// <summary>Sets a block aside that cannot go.</summary>
    public void SetAside(int slot)
    {
        Unlink(slot);
        _places[slot].Aside = true;
    }

    /// <summary>A block can go: if it was set aside, it takes its place among the oldest again.</summary>
    public void Offer(int slot)
    {
        ref var place = ref _places[slot];
        if (!place.Aside)
            return;
        place.Aside = false;
        ref var list = ref _lists[place.List];
        var newer = list.Oldest;
        for (var steps = 0; newer >= 0 && steps < MostSteps && IsBefore(_places[newer], place); steps++)
            newer = _links.Newer[newer];
        if (newer >= 0)
            list.AddOlderThan(_links, newer, slot);
        else
            list.AddNewest(_links, slot);
    }

    /// <summary>The oldest block of a list that can go, or -1.</summary>
    public int OldestThatCanGo(int list, ResidentTree tree)
    {
        int slot;
        while ((slot = _lists[list].Oldest) >= 0 && !tree.CanGo(slot))
            SetAside(slot);
        return slot;
    }

    private static bool IsBefore(in Place one, in Place other) =>
        one.Added < other.Added || (one.Added == other.Added && one.Request <= other.Request);

    private void Unlink(int slot)
    {
        if (!_places[slot].Aside)
            _lists[_places[slot].List].Remove(_links, slot);
    }

    private struct Place
    {
        public long Request;
        public long Added;
        public int List;
        public bool Aside;
    }
}
