namespace KvCache.Eviction;

/// <summary>
/// S3-FIFO (Yang et al., SOSP 2023), tail first: a small queue for what is new, a main queue for what was used in it, and fingerprints of
/// what left the small one unused. Blocks that cannot go because something is behind them are passed over.
/// </summary>
internal sealed class S3FifoPolicy : OrderedPolicy
{
    private const int Small = 0, Main = 1;
    private const int SmallShare = 10; // one of so many blocks
    private const byte MostUses = 3;
    private readonly ChainLists _queues;
    private readonly FingerprintQueue _gone = new();
    private PagedArray<ulong> _fingerprints;
    private PagedArray<byte> _uses;
    private int _smallTarget;

    /// <param name="slots">Slots of the store.</param>
    public S3FifoPolicy(int slots)
        : this(new ChainLists(slots, lists: 2), slots)
    {
    }

    private S3FifoPolicy(ChainLists queues, int slots)
        : base(queues, slots)
    {
        _queues = queues;
        _fingerprints = new PagedArray<ulong>(slots);
        _uses = new PagedArray<byte>(slots);
        SetCapacity(slots);
    }

    public override void Grow(int slots)
    {
        base.Grow(slots);
        _fingerprints.Grow(slots);
        _uses.Grow(slots);
    }

    public override void SetCapacity(int blocks)
    {
        _smallTarget = Math.Max(1, blocks / SmallShare);
        _gone.Capacity = Math.Max(1, blocks - _smallTarget);
    }

    public override void Touch(int slot, in ChainUse use) => _uses[slot] = Math.Min(MostUses, (byte)(_uses[slot] + 1));

    protected override void OnInsert(int slot, in ArrivingBlock block, in ChainUse use)
    {
        _fingerprints[slot] = block.Fingerprint;
        _uses[slot] = 0;
        _queues.Add(_gone.Take(block.Fingerprint) ? Main : Small, slot, block.Parent, use);
    }

    protected override void OnRemove(int slot, bool evicted)
    {
        if (evicted && _queues.ListOf(slot) == Small)
            _gone.Add(_fingerprints[slot]);
        _queues.Remove(slot);
    }

    protected override int Oldest(in ArrivingBlock block, out long added)
    {
        var first = _queues.Count(Small) >= _smallTarget ? Small : Main;
        var slot = OldestUnused(first);
        if (slot < 0)
            slot = OldestUnused(1 - first);
        added = slot < 0 ? 0 : _queues.Added(slot);
        return slot;
    }

    // Walks a queue from its old end; what was used goes to the new end of the main one.
    private int OldestUnused(int queue)
    {
        for (var moved = true; moved;)
        {
            moved = false;
            for (int slot; (slot = _queues.Oldest(queue)) >= 0;)
            {
                if (_uses[slot] > (queue == Small ? 1 : 0))
                {
                    _uses[slot] = (byte)(queue == Small ? 0 : _uses[slot] - 1);
                    _queues.Move(Main, slot);
                    moved = true;
                }
                else if (Tree.CanGo(slot))
                {
                    return slot;
                }
                else
                {
                    _queues.SetAside(slot);
                }
            }
        }

        return -1;
    }
}
