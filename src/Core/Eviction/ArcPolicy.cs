namespace KvCache.Eviction;

/// <summary>
/// Adaptive replacement cache (Megiddo and Modha, FAST 2003), tail first: blocks touched once and blocks touched again in two LRU lists,
/// whose shares follow hits among what was evicted from each.
/// </summary>
internal sealed class ArcPolicy : OrderedPolicy
{
    private const int Once = 0, Again = 1;
    private readonly ChainLists _order;
    private readonly FingerprintQueue[] _gone = [new(), new()];
    private PagedArray<ulong> _fingerprints;
    private int _capacity;
    private double _onceShare; // blocks that the first list may have

    /// <param name="slots">Slots of the store.</param>
    public ArcPolicy(int slots)
        : this(new ChainLists(slots, lists: 2), slots)
    {
    }

    private ArcPolicy(ChainLists order, int slots)
        : base(order, slots)
    {
        _order = order;
        _fingerprints = new PagedArray<ulong>(slots);
        SetCapacity(slots);
    }

    public override void Grow(int slots)
    {
        base.Grow(slots);
        _fingerprints.Grow(slots);
    }

    public override void SetCapacity(int blocks)
    {
        _capacity = blocks;
        _onceShare = Math.Min(_onceShare, blocks);
        (_gone[Once].Capacity, _gone[Again].Capacity) = (blocks + 1, (2 * blocks) + 1);
    }

    public override void Touch(int slot, in ChainUse use)
    {
        _order.Remove(slot);
        _order.Add(Again, slot, Tree.ParentOf(slot), use);
    }

    protected override void OnInsert(int slot, in ArrivingBlock block, in ChainUse use)
    {
        _onceShare = ShareFor(block.Fingerprint, out _);
        var known = _gone[Once].Take(block.Fingerprint) | _gone[Again].Take(block.Fingerprint);
        _fingerprints[slot] = block.Fingerprint;
        _order.Add(known ? Again : Once, slot, block.Parent, use);
        while (_gone[Once].Count > 0 && _order.Count(Once) + _gone[Once].Count > _capacity)
            _gone[Once].DropOldest();
        while (_gone[Again].Count > 0 && _order.Count(Again) + _gone[Again].Count + _order.Count(Once) + _gone[Once].Count > 2 * _capacity)
            _gone[Again].DropOldest();
    }

    protected override void OnRemove(int slot, bool evicted)
    {
        if (evicted)
            _gone[_order.ListOf(slot)].Add(_fingerprints[slot]);
        _order.Remove(slot);
    }

    protected override int Oldest(in ArrivingBlock block, out long added)
    {
        var share = ShareFor(block.Fingerprint, out var wasAgain);
        var once = _order.Count(Once);
        var list = once > 0 && (once > share || (wasAgain && once >= share)) ? Once : Again;
        var slot = _order.OldestThatCanGo(list, Tree);
        if (slot < 0)
            slot = _order.OldestThatCanGo(1 - list, Tree);
        added = slot < 0 ? 0 : _order.Added(slot);
        return slot;
    }

    // A block that comes back says that its list was too short.
    private double ShareFor(ulong fingerprint, out bool wasAgain)
    {
        wasAgain = false;
        if (_gone[Once].Contains(fingerprint))
            return Math.Min(_capacity, _onceShare + Math.Max(1, _gone[Again].Count / (double)_gone[Once].Count));
        wasAgain = _gone[Again].Contains(fingerprint);
        return wasAgain ? Math.Max(0, _onceShare - Math.Max(1, _gone[Once].Count / (double)_gone[Again].Count)) : _onceShare;
    }
}
