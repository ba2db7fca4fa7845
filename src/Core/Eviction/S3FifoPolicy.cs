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
    private readonly int _smallTarget;
    private readonly ChainLists _queues;
    private readonly ulong[] _fingerprints;
    private readonly byte[] _uses;
    private readonly FingerprintQueue _gone;

    /// <param name="slots">Slots of the store.</param>
    public S3FifoPolicy(int slots)
        : base(slots)
    {
        _smallTarget = Math.Max(1, slots / SmallShare);
        _queues = new ChainLists(slots, lists: 2);
        _fingerprints = new ulong[slots];
        _uses = new byte[slots];
        _gone = new FingerprintQueue(Math.Max(1, slots - _smallTarget));
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
            for (int slot = _queues.Oldest(queue), newer; slot >= 0; slot = newer)
            {
                newer = _queues.Newer(slot);
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
            }
        }

        return -1;
    }
}
