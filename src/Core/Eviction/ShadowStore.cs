namespace KvCache.Eviction;

/// <summary>
/// A store of fingerprints only, over a sample of all blocks: what a policy would hit in a cache of a given size, at a fraction of its
/// cost. Each block is in the sample or not by its fingerprint, and the one before it in the sample is its parent, so that chains stay
/// chains (spatial sampling as in SHARDS, Waldspurger et al., FAST 2015).
/// </summary>
/// <param name="policy">The policy, with as many slots.</param>
/// <param name="slots">Sampled blocks that it holds.</param>
internal sealed class ShadowStore(IEvictionPolicy policy, int slots)
{
    private readonly Dictionary<ulong, int> _slotOf = new(slots);
    private readonly ulong[] _fingerprints = new ulong[slots];
    private readonly uint[] _requests = new uint[slots];
    private readonly bool[] _unused = new bool[slots]; // since it was stored

    /// <summary>Looks a request's sampled blocks up as a prefix, then stores all of them.</summary>
    /// <returns>Blocks found.</returns>
    public int Serve(ReadOnlySpan<ulong> sampled, in ChainUse use) =>
        Serve(sampled, use, isPut: false, out var repeated) + repeated;

    /// <summary>The same; what the request has shown before is not found, but repeated. So is what a put brings that nobody has used since it
    /// was asked for in vain.</summary>
    public int Serve(ReadOnlySpan<ulong> sampled, in ChainUse use, bool isPut, out int repeated)
    {
        int hits = 0, last = -1;
        repeated = 0;
        for (; hits < sampled.Length && _slotOf.TryGetValue(sampled[hits], out var slot); hits++)
        {
            policy.Touch(slot, use);
            if (_requests[slot] == (uint)use.Request || (isPut && _unused[slot]))
                repeated++;
            else
                _unused[slot] = false;
            _requests[slot] = (uint)use.Request;
            last = slot;
        }

        if (last >= 0)
            policy.Hold(last);
        var stored = hits;
        for (; stored < sampled.Length; stored++)
        {
            // A chain that is shown in parts may have lost the end of one, and still have what comes behind it.
            if (!_slotOf.TryGetValue(sampled[stored], out var slot))
            {
                var block = new ArrivingBlock(sampled[stored], last, Partial: false);
                if (!TryFindSlot(block, use, out slot))
                    break;
                _slotOf.Add(block.Fingerprint, slot);
                _fingerprints[slot] = block.Fingerprint;
                (_requests[slot], _unused[slot]) = ((uint)use.Request, true);
                policy.Insert(slot, block, use);
            }

            policy.Hold(slot);
            if (last >= 0)
                policy.Release(last);
            last = slot;
        }

        for (; stored < sampled.Length; stored++)
        {
            if (!_slotOf.ContainsKey(sampled[stored]))
                policy.Pass(new ArrivingBlock(sampled[stored], -1, Partial: false), use);
        }

        if (last >= 0)
            policy.Release(last);
        return hits - repeated;
    }

    private bool TryFindSlot(in ArrivingBlock block, in ChainUse use, out int slot)
    {
        slot = _slotOf.Count;
        if (slot < slots)
            return true;
        if (policy.ChooseVictim(block, use, out var victim) != VictimChoice.Found)
            return false;
        slot = victim.Slot;
        _slotOf.Remove(_fingerprints[slot]);
        policy.Remove(slot, evicted: true, use.Now);
        return true;
    }
}
