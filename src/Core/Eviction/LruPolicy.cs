namespace KvCache.Eviction;

/// <summary>
/// Tail-first least recently used: of the blocks that a request touches, deeper ones become older than shallower ones, so that a chain loses
/// its end first.
/// </summary>
/// <param name="slots">Slots of the store.</param>
internal sealed class LruPolicy(int slots) : IEvictionPolicy
{
    private readonly ResidentTree _tree = new(slots);
    private readonly RecencyOrder _order = new(slots);

    public void Look(ReadOnlySpan<ulong> chain, ref ChainUse use)
    {
    }

    public void Touch(int slot, in ChainUse use)
    {
        _order.Remove(slot);
        _order.Add(slot, _tree.ParentOf(slot), use);
    }

    public void Insert(int slot, in ArrivingBlock block, in ChainUse use)
    {
        _tree.Add(slot, block.Parent);
        _order.Add(slot, block.Parent, use);
    }

    public void Pass(in ArrivingBlock block, in ChainUse use)
    {
    }

    public VictimChoice ChooseVictim(in ArrivingBlock block, in ChainUse use, out Victim victim)
    {
        var slot = _order.OldestThatCanGo(_tree);
        victim = new Victim(slot, slot < 0 ? 0 : _order.Touched(slot) - use.Now);
        return slot < 0 ? VictimChoice.AllHeld : VictimChoice.Found;
    }

    public void Remove(int slot, bool evicted, long now)
    {
        _order.Remove(slot);
        _tree.Remove(slot);
    }

    public void Hold(int slot) => _tree.Hold(slot);

    public void Release(int slot) => _tree.Release(slot);
}
