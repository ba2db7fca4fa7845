namespace KvCache.Eviction;

/// <summary>Least recently used.</summary>
internal sealed class LruPolicy : OrderedPolicy
{
    private readonly ChainLists _order;

    /// <param name="slots">Slots of the store.</param>
    /// <param name="tailFirst">
    /// Whether, of the blocks that a request touches, deeper ones become older than shallower ones. Victims are leaves in any case, so
    /// that it makes the choice cheap rather than better: the oldest block is a leaf, instead of the start of the oldest chain.
    /// </param>
    public LruPolicy(int slots, bool tailFirst = true)
        : this(new ChainLists(slots, tailFirst: tailFirst), slots)
    {
    }

    private LruPolicy(ChainLists order, int slots)
        : base(order, slots) => _order = order;

    public override void Touch(int slot, in ChainUse use)
    {
        _order.Remove(slot);
        _order.Add(0, slot, Tree.ParentOf(slot), use);
    }

    protected override void OnInsert(int slot, in ArrivingBlock block, in ChainUse use) => _order.Add(0, slot, block.Parent, use);

    protected override void OnRemove(int slot, bool evicted) => _order.Remove(slot);

    protected override int Oldest(in ArrivingBlock block, out long added)
    {
        var slot = _order.OldestThatCanGo(0, Tree);
        added = slot < 0 ? 0 : _order.Added(slot);
        return slot;
    }
}
