namespace KvCache.Eviction;

/// <summary>
/// Keeps what will be used again soonest for the room it takes: blocks fall into classes (<see cref="ReuseClass"/>), the time until the
/// next touch is learned for each (<see cref="ReuseLearner"/>), and the leaf goes whose class and age promise the fewest hits for a
/// block-second (<see cref="GittinsIndex"/>). docs/eviction.md says how and how well.
/// </summary>
internal sealed class LearnedPolicy : IEvictionPolicy
{
    /// <summary>How many blocks are remembered after they went, for each slot.</summary>
    public const int GhostsPerSlot = 6;

    private const long SliceEvery = 256, LearnEvery = 4096; // milliseconds, at least
    private const int LearnEveryRequests = 32;
    private const int MostForgotten = 4096; // at once
    private const long TimeUnit = 16; // ghosts remember no finer times, and all must agree

    private const int Aside = -2; // in the list of recency: passed over, until it can go
    private readonly ResidentTree _tree;
    private readonly ReuseLearner _learner;
    private readonly CandidateCells _candidates;
    private readonly SlotLinks _recencyLinks;
    private readonly bool _learns;
    private PagedArray<Block> _blocks;
    private GhostTable _ghosts;
    private LearnedPolicy? _shadow;
    private PolicyContest? _contest;
    private SlotList _recency = SlotList.Empty; // tail first
    private long _origin = long.MinValue, _sliced = -SliceEvery, _learned;
    private int _requests, _special; // requests since it learned; resident blocks for which something is asked
    private IEnumerator<Trail>? _forgotten; // of a smaller table: they are counted little by little

    /// <param name="slots">Slots of the store.</param>
    public LearnedPolicy(int slots)
        : this(slots, new ReuseLearner(), learns: true)
    {
        _learner.SlicesMerged = (stays, goes) =>
        {
            _candidates.Merge(stays, goes);
            _shadow?._candidates.Merge(stays, goes);
        };
        SetCapacity(slots);
    }

    private LearnedPolicy(int slots, ReuseLearner learner, bool learns)
    {
        (_learner, _learns) = (learner, learns);
        _blocks = new PagedArray<Block>(slots);
        _tree = new ResidentTree(slots);
        _candidates = new CandidateCells(_learner, slots);
        _ghosts = new GhostTable(slots * GhostsPerSlot);
        _recencyLinks = new SlotLinks(slots);
    }

    /// <summary>Whether it evicts the least recently used at present, because that hits more than what was learned. Not while clients ask
    /// for something else.</summary>
    public bool FollowsRecency => _special == 0 && _contest is { PrefersRecency: true };

    public long Steps => _tree.Steps;

    public void Grow(int slots)
    {
        _blocks.Grow(slots);
        _tree.Grow(slots);
        _candidates.Grow(slots);
        _recencyLinks.Grow(slots);
    }

    public void SetCapacity(int blocks)
    {
        if (_ghosts.Capacity < blocks * GhostsPerSlot)
        {
            Forget(int.MaxValue);
            _forgotten = _ghosts.All().GetEnumerator();
            _ghosts = new GhostTable(blocks * GhostsPerSlot);
        }

        (_shadow, _contest) = (null, null);
        if (blocks / 8 >= PolicyContest.LeastShadow)
            _contest = new PolicyContest(blocks, some => _shadow = new LearnedPolicy(some, _learner, learns: false) { _origin = _origin });
    }

    public void Look(ReadOnlySpan<ulong> chain, int resident, int last, ref ChainUse use)
    {
        _requests++;
        Advance(use.Now);
        var known = resident;
        var (touched, level) = last >= 0 ? (_blocks[last].Touched, _blocks[last].Level) : (-1, (byte)0);
        for (; known < chain.Length && _ghosts.TryGet(chain[known], out var trail); known++)
            (touched, level) = (trail.Touched, trail.Level);
        use.SuffixTokens = (int)Math.Max(0, use.Tokens - ((long)known * use.TokensPerBlock));
        use.Gap = touched < 0 ? -1 : Time(use.Now) - touched;
        use.Level = (byte)Math.Min(byte.MaxValue, level + 1);
        _contest?.Serve(chain, use);
    }

    public void Touch(int slot, in ChainUse use)
    {
        ref var block = ref _blocks[slot];
        Withdraw(slot);
        RemoveRecent(slot);
        End(block.Class, block.Touched, Time(use.Now), reused: true);
        var keep = use.Keep.IsTold ? use.Keep : _learner.KeepOf(block.Class).After(Time(use.Now) - block.Touched);
        CountSpecial(block.Class, -1);
        Begin(ref block, new Trail { Touches = block.Touches, Level = block.Level }, partial: false, keep, use);
        CountSpecial(block.Class, 1);
        AddRecent(slot, _tree.ParentOf(slot));
        Offer(slot);
    }

    public void Insert(int slot, in ArrivingBlock block, in ChainUse use)
    {
        if (block.Parent >= 0)
            Withdraw(block.Parent);
        _tree.Add(slot, block.Parent);
        _blocks[slot].Fingerprint = block.Fingerprint;
        Begin(ref _blocks[slot], Recall(block.Fingerprint, use), block.Partial, use.Keep, use);
        CountSpecial(_blocks[slot].Class, 1);
        AddRecent(slot, block.Parent);
        Offer(slot);
    }

    public void Pass(in ArrivingBlock block, in ChainUse use)
    {
        var passed = new Block { Fingerprint = block.Fingerprint };
        Begin(ref passed, Recall(block.Fingerprint, use), block.Partial, use.Keep, use);
        Remember(passed, Time(use.Now));
    }

    public VictimChoice ChooseVictim(in ArrivingBlock block, in ChainUse use, out Victim victim)
    {
        if (FollowsRecency)
            return ChooseOldest(use, out victim);
        var slot = _candidates.Least(out var age);
        victim = default;
        if (slot < 0)
            return VictimChoice.AllHeld;
        // Others are told what it is worth by itself: what is asked for it counts among a tenant's own.
        var leaving = _blocks[slot].Class;
        var score = _learner.Score(leaving, age);
        victim = new Victim(slot, score);
        if (!_ghosts.TryGet(block.Fingerprint, out var trail))
            trail.Level = use.Level;
        var arriving = _learner.ClassOf(ReuseClass.Of(trail.Touches + 1, trail.Level, block.Partial, use.Keep, use));
        // Where all that could go is retained, that is no reason to let nothing in.
        var keep = _learner.KeepOf(leaving);
        return keep.Retains(age) || !use.Keep.Retains(0)
            ? use.Keep.Weigh(_learner.Score(arriving, 0), 0) < keep.Weigh(score, age) ? VictimChoice.NotWorthIt : VictimChoice.Found
            : VictimChoice.Found;
    }

    public void Tell(int tail, in ChainUse use)
    {
        var request = (uint)use.Request;
        for (var slot = tail; slot >= 0 && _blocks[slot].Request == request; slot = _tree.ParentOf(slot))
        {
            ref var block = ref _blocks[slot];
            var id = _learner.ClassOf(ReuseClass.With(_learner.KeyOf(block.Class), use));
            if (id == block.Class)
                continue;
            Withdraw(slot);
            _learner.Move(block.Class, id, block.Touched, request);
            CountSpecial(block.Class, -1);
            block.Class = id;
            CountSpecial(block.Class, 1);
            Offer(slot);
        }
    }

    public void Remove(int slot, bool evicted, long now)
    {
        Withdraw(slot);
        RemoveRecent(slot);
        var parent = _tree.Remove(slot);
        if (parent >= 0)
            Offer(parent, first: true); // one chain after another, and not a block of each
        ref var block = ref _blocks[slot];
        CountSpecial(block.Class, -1);
        if (evicted)
            Remember(block, Time(now));
        else
            End(block.Class, block.Touched, Time(now), reused: false);
        block = default;
    }

    public void Hold(int slot)
    {
        _tree.Hold(slot);
        Withdraw(slot);
    }

    public void Release(int slot)
    {
        _tree.Release(slot);
        Offer(slot);
    }

    // The policy's own time begins with the first that it hears, in units that ghosts can remember.
    private long Time(long now)
    {
        if (_origin == long.MinValue)
        {
            _origin = now;
            if (_shadow is not null)
                _shadow._origin = now;
        }

        return Math.Max(0, now - _origin) & -TimeUnit;
    }

    public void Advance(long now) => AdvanceTo(Time(now));

    private void AdvanceTo(long now)
    {
        if (now - _sliced < SliceEvery)
            return;
        _sliced = now;
        Forget(MostForgotten);
        _learner.Advance(now);
        if (_requests >= LearnEveryRequests && now - _learned >= LearnEvery)
        {
            (_learned, _requests) = (now, 0);
            _learner.Learn(now);
        }

        _candidates.Rescore(now);
        _shadow?._candidates.Rescore(now);
    }

    private void Forget(int most)
    {
        for (; _forgotten is not null && most > 0; most--)
        {
            if (_forgotten.MoveNext())
                End(_forgotten.Current.Class, _forgotten.Current.Touched, Math.Max(_forgotten.Current.Touched, _sliced), reused: false);
            else
                _forgotten = null;
        }
    }

    private Trail Recall(ulong fingerprint, in ChainUse use)
    {
        if (!_ghosts.TryTake(fingerprint, out var trail))
            return new Trail { Level = use.Level };
        End(trail.Class, trail.Touched, Time(use.Now), reused: true);
        return trail;
    }

    private void CountSpecial(ushort id, int by)
    {
        if (_learner.KeepOf(id).IsTold)
            _special += by;
    }

    private void Begin(ref Block block, in Trail before, bool partial, KeepTerms keep, in ChainUse use)
    {
        block.Touched = Time(use.Now);
        block.Request = (uint)use.Request;
        block.Touches = (byte)Math.Min(byte.MaxValue, before.Touches + 1);
        block.Level = before.Level;
        block.Class = _learner.ClassOf(ReuseClass.Of(block.Touches, block.Level, partial, keep, use));
        if (_learns)
            _learner.Begin(block.Class, block.Touched, block.Request);
    }

    // A shadow sees what the store sees, and would count it twice.
    private void End(ushort id, long began, long now, bool reused)
    {
        if (_learns)
            _learner.End(id, began, now, reused);
    }

    private void AddRecent(int slot, int parent)
    {
        if (parent >= 0 && _blocks[parent].Request == _blocks[slot].Request && _recencyLinks.Newer[parent] != Aside)
            _recency.AddOlderThan(_recencyLinks, parent, slot);
        else
            _recency.AddNewest(_recencyLinks, slot);
    }

    private void RemoveRecent(int slot)
    {
        if (_recencyLinks.Newer[slot] != Aside)
            _recency.Remove(_recencyLinks, slot);
    }

    private VictimChoice ChooseOldest(in ChainUse use, out Victim victim)
    {
        int slot;
        while ((slot = _recency.Oldest) >= 0 && !_tree.CanGo(slot))
        {
            _recency.Remove(_recencyLinks, slot);
            _recencyLinks.Newer[slot] = Aside;
        }

        victim = slot < 0 ? default : Victim.ByAge(slot, Time(use.Now) - _blocks[slot].Touched);
        return slot < 0 ? VictimChoice.AllHeld : VictimChoice.Found;
    }

    private void Remember(in Block block, long now)
    {
        var trail = new Trail { Touched = block.Touched, Class = block.Class, Touches = block.Touches, Level = block.Level };
        if (_ghosts.Add(block.Fingerprint, trail, out var forgotten))
            End(forgotten.Class, forgotten.Touched, now, reused: false);
    }

    private void Offer(int slot, bool first = false)
    {
        if (!_tree.CanGo(slot) || _candidates.Contains(slot))
            return;
        _candidates.Add(slot, _blocks[slot].Class, _blocks[slot].Touched, first);
        if (_recencyLinks.Newer[slot] == Aside)
            _recency.AddOldest(_recencyLinks, slot);
    }

    private void Withdraw(int slot)
    {
        if (_candidates.Contains(slot))
            _candidates.Remove(slot);
    }

    private struct Block
    {
        public ulong Fingerprint;
        public long Touched;
        public uint Request;
        public ushort Class;
        public byte Touches;
        public byte Level;
    }
}
