using KvCache.Eviction;

namespace KvCache.Engine.Storage;

/// <summary>
/// The visible blocks of an account as its eviction policy knows them: by slot. Guarded by the store's lock.
/// </summary>
/// <param name="account">Whose they are.</param>
/// <param name="policy">Name of the policy; see <see cref="EvictionPolicies"/>.</param>
internal sealed class TenantBlocks(TenantAccount account, string policy)
{
    private const int FirstSlots = 64;

    private readonly CopyList _copies = new();
    private PagedArray<BlockNode?> _bySlot = new(FirstSlots);
    private PagedArray<int> _free = new(FirstSlots);
    private int _freeCount, _used, _capacity = FirstSlots;

    /// <summary>What decides among the blocks.</summary>
    public IEvictionPolicy Policy { get; } = EvictionPolicies.Create(policy, FirstSlots);

    /// <summary>What other sizes would hit; null before anything had to go.</summary>
    public MemoryCurve? Curve { get; private set; }

    /// <summary>Visible blocks.</summary>
    public int Count { get; private set; }

    /// <summary>Slots that were ever given: all blocks have one below it.</summary>
    public int Slots => _used;

    /// <summary>The copy of another silo's block that was used least recently, of those that can go.</summary>
    public BlockNode? OldestCopy => _copies.Oldest;

    /// <summary>The visible block of a slot.</summary>
    public BlockEntry? this[int slot] => _bySlot[slot]?.Entry;

    /// <summary>Takes in a block that has just become visible.</summary>
    public void Add(BlockNode node, in ChainUse use)
    {
        var parent = node.Parent;
        Policy.Insert(SlotOf(node), new ArrivingBlock(node.Fingerprint, parent is null ? -1 : SlotOf(parent), Partial: false), use);
        Count++;
        node.Request = use.Request;
        if (parent is not null)
        {
            parent.VisibleChildren++;
            _copies.Remove(parent);
        }

        if (node.Entry!.IsCopy)
            Policy.Hold(node.Slot); // copies go in an order of their own
        if (node.Locks > 0)
            Policy.Hold(node.Slot);
        else
            CanGo(node);
    }

    /// <summary>Lets go of a block that is no longer visible.</summary>
    public void Remove(BlockNode node, BlockEntry entry, bool evicted, long now)
    {
        _copies.Remove(node);
        if (node.Locks == 0)
            account.EvictableBytes -= entry.ArenaBytes;
        Policy.Remove(node.Slot, evicted, now);
        Count--;
        if (node.Parent is { } parent && --parent.VisibleChildren == 0)
            OfferCopy(parent);
    }

    /// <summary>A request used a visible block.</summary>
    public void Touch(BlockNode node, in ChainUse use) => Policy.Touch(node.Slot, use);

    /// <summary>A copy was used last of all blocks.</summary>
    public void RenewCopy(BlockNode node) => _copies.Renew(node);

    /// <summary>A visible block must stay from now on.</summary>
    public void Hold(BlockNode node)
    {
        _copies.Remove(node);
        account.EvictableBytes -= node.Entry!.ArenaBytes;
        Policy.Hold(node.Slot);
    }

    /// <summary>A visible block need not stay any more.</summary>
    public void Release(BlockNode node)
    {
        Policy.Release(node.Slot);
        CanGo(node);
    }

    /// <summary>A block that is not visible, and has nothing behind it, needs no slot any more.</summary>
    public void FreeSlot(BlockNode node)
    {
        _bySlot[node.Slot] = null;
        if (_freeCount == _free.Length)
            _free.Grow(_free.NextLength);
        _free[_freeCount++] = node.Slot;
        node.Slot = -1;
    }

    /// <summary>What the policy would let go for a block.</summary>
    public VictimChoice Choose(in ArrivingBlock block, in ChainUse use, out BlockNode? node, out double score)
    {
        // Only a full store knows how many blocks it holds.
        if (Count > _capacity + (_capacity / 4) || Count < _capacity - (_capacity / 4))
        {
            Policy.SetCapacity(_capacity = Math.Max(1, Count));
            Curve = null;
        }

        Curve ??= new MemoryCurve(Math.Max(1, Count));
        Policy.Advance(use.Now);
        var choice = Policy.ChooseVictim(block, use, out var victim);
        (node, score) = choice == VictimChoice.AllHeld ? (null, 0) : (_bySlot[victim.Slot], victim.Score);
        return choice;
    }

    private int SlotOf(BlockNode node)
    {
        if (node.Slot >= 0)
            return node.Slot;
        if (_freeCount > 0)
        {
            node.Slot = _free[--_freeCount];
        }
        else
        {
            if (_used == _bySlot.Length)
            {
                _bySlot.Grow(_bySlot.NextLength);
                Policy.Grow(_bySlot.Length);
            }

            node.Slot = _used++;
        }

        _bySlot[node.Slot] = node;
        return node.Slot;
    }

    private void CanGo(BlockNode node)
    {
        account.EvictableBytes += node.Entry!.ArenaBytes;
        OfferCopy(node);
    }

    private void OfferCopy(BlockNode node)
    {
        if (node is { Entry.IsCopy: true, VisibleChildren: 0, Locks: 0 })
            _copies.Add(node);
    }
}
