namespace KvCache.Eviction;

/// <summary>What policies have in common that know nothing but the order in which blocks came and were used.</summary>
/// <param name="order">Lists of the blocks.</param>
/// <param name="slots">Slots of the store.</param>
internal abstract class OrderedPolicy(ChainLists order, int slots) : IEvictionPolicy
{
    /// <summary>The resident blocks.</summary>
    protected ResidentTree Tree { get; } = new(slots);

    public long Steps => Tree.Steps;

    public virtual void Grow(int slots)
    {
        Tree.Grow(slots);
        order.Grow(slots);
    }

    public virtual void SetCapacity(int blocks)
    {
    }

    public void Advance(long now)
    {
    }

    public void Look(ReadOnlySpan<ulong> chain, int resident, int last, ref ChainUse use)
    {
    }

    public abstract void Touch(int slot, in ChainUse use);

    public void Insert(int slot, in ArrivingBlock block, in ChainUse use)
    {
        Tree.Add(slot, block.Parent);
        OnInsert(slot, block, use);
    }

    public void Pass(in ArrivingBlock block, in ChainUse use)
    {
    }

    public VictimChoice ChooseVictim(in ArrivingBlock block, in ChainUse use, out Victim victim)
    {
        var slot = Oldest(block, out var added);
        victim = slot < 0 ? default : Victim.ByAge(slot, use.Now - added);
        return slot < 0 ? VictimChoice.AllHeld : VictimChoice.Found;
    }

    public void Tell(int tail, in ChainUse use)
    {
    }

    public void Remove(int slot, bool evicted, long now)
    {
        OnRemove(slot, evicted);
        var parent = Tree.Remove(slot);
        if (parent >= 0)
            Offer(parent);
    }

    public void Hold(int slot) => Tree.Hold(slot);

    public void Release(int slot)
    {
        Tree.Release(slot);
        Offer(slot);
    }

    /// <summary>A block came into the tree.</summary>
    protected abstract void OnInsert(int slot, in ArrivingBlock block, in ChainUse use);

    /// <summary>A block leaves the tree.</summary>
    protected abstract void OnRemove(int slot, bool evicted);

    /// <summary>What goes for a block, or -1.</summary>
    /// <param name="block">The block that arrives.</param>
    /// <param name="added">When the victim took its place in the order.</param>
    protected abstract int Oldest(in ArrivingBlock block, out long added);

    private void Offer(int slot)
    {
        if (Tree.CanGo(slot))
            order.Offer(slot);
    }
}
