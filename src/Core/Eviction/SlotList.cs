namespace KvCache.Eviction;

/// <summary>Room for lists of slots in which every slot is in at most one: links by slot.</summary>
internal sealed class SlotLinks(int slots)
{
    public PagedArray<int> Older = new(slots);
    public PagedArray<int> Newer = new(slots);

    public void Grow(int slots)
    {
        Older.Grow(slots);
        Newer.Grow(slots);
    }
}

/// <summary>A list of slots by recency, linked through <see cref="SlotLinks"/>. -1 is no slot.</summary>
internal struct SlotList
{
    public int Oldest;
    public int Newest;
    public int Count;

    public static SlotList Empty => new() { Oldest = -1, Newest = -1 };

    public void AddNewest(SlotLinks links, int slot)
    {
        links.Older[slot] = Newest;
        links.Newer[slot] = -1;
        if (Newest >= 0)
            links.Newer[Newest] = slot;
        else
            Oldest = slot;
        Newest = slot;
        Count++;
    }

    public void AddOldest(SlotLinks links, int slot)
    {
        if (Count == 0)
            AddNewest(links, slot);
        else
            AddOlderThan(links, Oldest, slot);
    }

    /// <summary>Adds a slot just before another one, on its older side.</summary>
    public void AddOlderThan(SlotLinks links, int other, int slot)
    {
        var older = links.Older[other];
        links.Older[slot] = older;
        links.Newer[slot] = other;
        links.Older[other] = slot;
        if (older >= 0)
            links.Newer[older] = slot;
        else
            Oldest = slot;
        Count++;
    }

    public void Remove(SlotLinks links, int slot)
    {
        int older = links.Older[slot], newer = links.Newer[slot];
        if (newer >= 0)
            links.Older[newer] = older;
        else
            Newest = older;
        if (older >= 0)
            links.Newer[older] = newer;
        else
            Oldest = newer;
        Count--;
    }

    /// <summary>Takes all of another list, as newer than its own, and leaves that one empty.</summary>
    public void Append(SlotLinks links, ref SlotList other)
    {
        if (other.Count == 0)
            return;
        if (Count == 0)
        {
            (this, other) = (other, Empty);
            return;
        }

        links.Newer[Newest] = other.Oldest;
        links.Older[other.Oldest] = Newest;
        Newest = other.Newest;
        Count += other.Count;
        other = Empty;
    }
}
