namespace KvCache.Eviction;

/// <summary>
/// Decides which block of a full store goes. The store owns the blocks and names each by a slot, a small number that it chooses; a policy
/// keeps what it knows in arrays by slot, does no I/O, takes its time from its caller, and allocates nothing for a touch, an insert or a
/// victim. Not thread-safe: a store has one for each of its shards, under the shard's lock.
/// </summary>
/// <remarks>
/// Victims are always leaves of what is resident, and never held: what remains can be reached from its root. A request calls
/// <see cref="Look"/> once, or once for each part of its chain, then <see cref="Touch"/>, <see cref="Insert"/> and <see cref="Pass"/> for
/// the blocks in the order of their chain.
/// </remarks>
internal interface IEvictionPolicy
{
    /// <summary>Blocks that were looked at to find victims, since the start.</summary>
    long Steps { get; }

    /// <summary>Makes room for more slots: theirs are then 0 to <paramref name="slots"/> - 1. Copies nothing but a page or two.</summary>
    void Grow(int slots);

    /// <summary>Says how many blocks the store holds when it is full, as far as is known by now.</summary>
    void SetCapacity(int blocks);

    /// <summary>Time goes on. <see cref="Look"/> does it too; it is for a policy whose victims are compared with those of a busier
    /// one.</summary>
    /// <param name="now">Time, in milliseconds of the caller's clock.</param>
    void Advance(long now);

    /// <summary>Fills in what the policy remembers of a request's chain. Counts as use of nothing.</summary>
    /// <param name="chain">Fingerprints of its blocks, first block first; none is 0.</param>
    /// <param name="resident">How many of them are resident, from the first on.</param>
    /// <param name="last">Slot of the last one of these; where there is none, of the resident block before the chain, or -1.</param>
    /// <param name="use">The request; its suffix, gap and level are set.</param>
    void Look(ReadOnlySpan<ulong> chain, int resident, int last, ref ChainUse use);

    /// <summary>A resident block was read.</summary>
    void Touch(int slot, in ChainUse use);

    /// <summary>A block became resident.</summary>
    void Insert(int slot, in ArrivingBlock block, in ChainUse use);

    /// <summary>A block was seen that does not become resident, since there was no room for it.</summary>
    void Pass(in ArrivingBlock block, in ChainUse use);

    /// <summary>Chooses what goes for a block that arrives. The victim is not removed yet.</summary>
    VictimChoice ChooseVictim(in ArrivingBlock block, in ChainUse use, out Victim victim);

    /// <summary>What a request appended, how its answer ended, or what is asked for its blocks, is known only now, after they were
    /// touched.</summary>
    /// <param name="tail">Slot of the last block of its chain that is resident.</param>
    /// <param name="use">The request.</param>
    void Tell(int tail, in ChainUse use);

    /// <summary>A block is no longer resident.</summary>
    /// <param name="slot">Its slot. Where resident blocks come behind it, as after a deletion, it may be used again for the same block, and
    /// for another one when they are gone.</param>
    /// <param name="evicted">Whether it was evicted; what was deleted or has expired is not worth remembering.</param>
    /// <param name="now">Time, in milliseconds of the caller's clock.</param>
    void Remove(int slot, bool evicted, long now);

    /// <summary>
    /// Keeps a resident block from being a victim, and so all before it in its chain, until it is released as often as it was held, or is
    /// removed.
    /// </summary>
    void Hold(int slot);

    /// <summary>Takes a hold back.</summary>
    void Release(int slot);
}

/// <summary>Answer of <see cref="IEvictionPolicy.ChooseVictim"/>.</summary>
internal enum VictimChoice
{
    /// <summary>There is a victim.</summary>
    Found,

    /// <summary>The arriving block is worth less than all that could go for it.</summary>
    NotWorthIt,

    /// <summary>All that is resident is held, or before something that is.</summary>
    AllHeld,
}

/// <summary>What can go.</summary>
/// <param name="Slot">Slot of a leaf.</param>
/// <param name="Score">What keeping it is worth, in hits per block and second; shards that compare it evict like one cache. Policies that
/// only know an order answer the inverse of its age, which orders by age over shards.</param>
internal readonly record struct Victim(int Slot, double Score)
{
    /// <summary>A victim of a policy that knows only since when it was not touched.</summary>
    public static Victim ByAge(int slot, long age) => new(slot, 1000.0 / Math.Max(1, age));
}
