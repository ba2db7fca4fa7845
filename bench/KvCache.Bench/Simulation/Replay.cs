using KvCache.Bench.Traces;
using KvCache.Eviction;

namespace KvCache.Bench.Simulation;

/// <summary>A trace as the simulator wants it: ids are dense, so that arrays are indexed by them.</summary>
internal sealed class SimulatedTrace
{
    public required IReadOnlyList<SimulatedRequest> Requests { get; init; }

    /// <summary>Different blocks.</summary>
    public required int Blocks { get; init; }

    /// <summary>Blocks of all requests.</summary>
    public required long Accesses { get; init; }

    public static SimulatedTrace Of(IEnumerable<TraceRequest> requests)
    {
        var ids = new Dictionary<int, int>();
        var list = new List<SimulatedRequest>();
        long accesses = 0;
        foreach (var request in requests)
        {
            var chain = new int[request.HashIds.Length];
            for (var i = 0; i < chain.Length; i++)
            {
                if (!ids.TryGetValue(request.HashIds[i], out chain[i]))
                    ids.Add(request.HashIds[i], chain[i] = ids.Count);
            }

            accesses += chain.Length;
            list.Add(new SimulatedRequest(request.Timestamp, request.InputLength, chain, request.AnswerEnd));
        }

        return new SimulatedTrace { Requests = list, Blocks = ids.Count, Accesses = accesses };
    }
}

/// <summary>One request with the dense ids of its blocks.</summary>
internal sealed record SimulatedRequest(long Timestamp, int Tokens, int[] Chain, AnswerEnd End);

/// <summary>
/// A store without bytes: what a silo asks of a policy, in the same order. A request is looked up as a prefix up to the first miss, then all of
/// its blocks are stored.
/// </summary>
internal sealed class PolicyReplay
{
    private readonly IEvictionPolicy _policy;
    private readonly bool _hints;
    private readonly int[] _slotOf; // by block, -1 = not resident
    private readonly int[] _blockOf; // by slot
    private readonly ulong[] _fingerprints = new ulong[4096];
    private readonly int _capacity;
    private long _request;

    public PolicyReplay(SimulatedTrace trace, int capacity, IEvictionPolicy policy, bool hints)
    {
        _policy = policy;
        _hints = hints;
        _capacity = capacity;
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
        Span<ulong> fingerprints = chain.Length <= _fingerprints.Length ? _fingerprints.AsSpan(0, chain.Length) : new ulong[chain.Length];
        for (var i = 0; i < chain.Length; i++)
            fingerprints[i] = Fingerprint(chain[i]);
        var use = new ChainUse
        {
            Request = ++_request,
            Now = request.Timestamp,
            Tokens = request.Tokens,
            TokensPerBlock = TraceRequest.TokensPerBlock,
            End = _hints ? request.End : AnswerEnd.Unknown,
        };
        int hits = 0, last = -1;
        while (hits < chain.Length && _slotOf[chain[hits]] is >= 0 and var slot)
        {
            last = slot;
            hits++;
        }

        _policy.Look(fingerprints, hits, last, ref use);
        for (var i = 0; i < hits; i++)
            _policy.Touch(_slotOf[chain[i]], use);

        if (last >= 0)
            _policy.Hold(last);
        for (var i = hits; i < chain.Length; i++)
        {
            var block = new ArrivingBlock(fingerprints[i], last, (i + 1) * TraceRequest.TokensPerBlock > request.Tokens);
            if (i - hits > 0 && last < 0 || !TryFindSlot(block, use, out var slot))
            {
                // No room: what comes behind it could not be reached.
                for (; i < chain.Length; i++)
                    _policy.Pass(block with { Fingerprint = fingerprints[i], Parent = -1, Partial = (i + 1) * TraceRequest.TokensPerBlock > request.Tokens }, use);
                break;
            }

            _slotOf[chain[i]] = slot;
            _blockOf[slot] = chain[i];
            _policy.Insert(slot, block, use);
            _policy.Hold(slot);
            if (last >= 0)
                _policy.Release(last);
            last = slot;
        }

        if (last >= 0)
            _policy.Release(last);
        return hits;
    }

    private bool TryFindSlot(in ArrivingBlock block, in ChainUse use, out int slot)
    {
        if (Count < _capacity)
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

    // Any mixing will do: a silo takes eight bytes of the block's hash.
    private static ulong Fingerprint(int block)
    {
        var x = (ulong)(block + 1) * 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93;
        return x ^ (x >> 29);
    }
}
