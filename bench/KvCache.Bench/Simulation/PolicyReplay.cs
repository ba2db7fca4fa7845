using KvCache.Eviction;
using KvCache.InferenceNode.Loading;

namespace KvCache.Bench.Simulation;

/// <summary>
/// A store without bytes: what a silo asks of a policy, in the same order. A request is looked up as a prefix up to the first miss, then
/// all of its blocks are stored.
/// </summary>
/// <remarks>
/// What a policy does not admit, and all behind it, counts as seen. Time is the trace's.
/// </remarks>
internal sealed class PolicyReplay
{
    private readonly IEvictionPolicy _policy;
    private readonly bool _hints;
    private readonly int[] _slotOf; // by block, -1 = not resident
    private readonly int[] _blockOf; // by slot
    private ulong[] _fingerprints = new ulong[1024];
    private long _request;

    /// <param name="trace">What will be served.</param>
    /// <param name="capacity">Blocks that the store holds.</param>
    /// <param name="policy">A policy that has seen nothing yet.</param>
    /// <param name="hints">Whether the policy is told how answers ended.</param>
    public PolicyReplay(SimulatedTrace trace, int capacity, IEvictionPolicy policy, bool hints)
    {
        _policy = policy;
        _hints = hints;
        _slotOf = new int[trace.Blocks];
        Array.Fill(_slotOf, -1);
        _blockOf = new int[capacity];
    }

    /// <summary>Blocks that are resident.</summary>
    public int Count { get; private set; }

    /// <returns>Blocks found.</returns>
    public int Serve(SimulatedRequest request)
    {
        var chain = request.Chain;
        if (chain.Length > _fingerprints.Length)
            _fingerprints = new ulong[2 * chain.Length];
        var fingerprints = _fingerprints.AsSpan(0, chain.Length);
        for (var i = 0; i < chain.Length; i++)
            fingerprints[i] = Fingerprint(chain[i]);
        int hits = 0, last = -1;
        for (; hits < chain.Length && _slotOf[chain[hits]] >= 0; hits++)
            last = _slotOf[chain[hits]];
        var use = new ChainUse
        {
            Request = ++_request,
            Now = request.Timestamp,
            Tokens = request.Tokens,
            TokensPerBlock = request.TokensPerBlock,
            End = (_hints ? request.Hint?.End : null) ?? AnswerEnd.Unknown,
            Keep = _hints ? KeepTerms.Of(request.Hint?.Priority, request.Hint?.Retention ?? TimeSpan.Zero) : default,
        };
        _policy.Look(fingerprints, hits, last, ref use);
        for (var i = 0; i < hits; i++)
            _policy.Touch(_slotOf[chain[i]], use);
        Store(request, fingerprints, hits, last, use);
        return hits;
    }

    /// <summary>Whether a block of the trace is resident.</summary>
    public bool Contains(int block) => _slotOf[block] >= 0;

    private void Store(SimulatedRequest request, ReadOnlySpan<ulong> fingerprints, int stored, int last, in ChainUse use)
    {
        if (last >= 0)
            _policy.Hold(last);
        for (; stored < fingerprints.Length; stored++)
        {
            var block = Block(stored, last, fingerprints);
            if (!TryFindSlot(block, use, out var slot))
                break;
            _slotOf[request.Chain[stored]] = slot;
            _blockOf[slot] = request.Chain[stored];
            _policy.Insert(slot, block, use);
            _policy.Hold(slot);
            if (last >= 0)
                _policy.Release(last);
            last = slot;
        }

        // Behind a block that got no room nothing could be reached.
        for (; stored < fingerprints.Length; stored++)
            _policy.Pass(Block(stored, -1, fingerprints), use);
        if (last >= 0)
            _policy.Release(last);

        ArrivingBlock Block(int index, int parent, ReadOnlySpan<ulong> fingerprints) =>
            new(fingerprints[index], parent, Partial: (index + 1) * request.TokensPerBlock > request.Tokens);
    }

    private bool TryFindSlot(in ArrivingBlock block, in ChainUse use, out int slot)
    {
        if (Count < _blockOf.Length)
        {
            slot = Count++;
            return true;
        }

        slot = -1;
        if (_policy.ChooseVictim(block, use, out var victim) != VictimChoice.Found)
            return false;
        slot = victim.Slot;
        _slotOf[_blockOf[slot]] = -1;
        _policy.Remove(slot, evicted: true, use.Now);
        return true;
    }

    // Any mixing will do; a silo takes eight bytes of the block's hash.
    private static ulong Fingerprint(int block)
    {
        var mixed = (ulong)(block + 1) * 0x9E3779B97F4A7C15;
        mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93;
        return mixed ^ (mixed >> 29);
    }
}
