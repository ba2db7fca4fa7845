using KvCache.Eviction;
using KvCache.UnitTests.Eviction;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LearnedPolicyTests
{
    [Fact]
    public void Chains_whose_tools_call_back_are_kept_over_those_whose_turn_is_over()
    {
        // Both kinds look alike but for how their answers end; one comes back after ten seconds, the other never.
        var told = ShareOfLoopsHit(told: true, late: false);
        Assert.True(told > 0.9, $"{told}");
        Assert.Equal(told, ShareOfLoopsHit(told: true, late: true), 0.1);
        Assert.InRange(ShareOfLoopsHit(told: false, late: false), 0, told - 0.1);
    }

    [Fact]
    public void What_is_learned_of_one_tenant_does_not_spoil_what_is_known_of_another()
    {
        var learner = new ReuseLearner();
        var use = new ChainUse { Gap = -1, SuffixTokens = 1000 };
        var honest = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use with { Tenant = 0 }));
        var other = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use with { Tenant = 1 }));
        Teach(learner, honest, reusedEvery: 1, other, reusedEverySecond: 50);
        var stranger = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use with { Tenant = 2 }));
        Assert.True(learner.Score(honest, 0) > 3 * learner.Score(other, 0));
        // Of whom nothing is known, what is known of all is assumed.
        Assert.InRange(learner.Score(stranger, 0), learner.Score(other, 0), learner.Score(honest, 0));
    }

    [Fact]
    public void Whoever_asks_for_everything_there_is_to_ask_for_makes_only_so_many_classes()
    {
        var learner = new ReuseLearner();
        var random = new Random(1);
        for (var i = 0; i < 100_000; i++)
        {
            var use = new ChainUse { Gap = random.Next(-1, 10_000_000), SuffixTokens = random.Next(100_000), End = (AnswerEnd)random.Next(4) };
            var keep = KeepTerms.Of(random.Next(101), TimeSpan.FromSeconds(random.Next(1_000_000)));
            var id = learner.ClassOf(ReuseClass.Of(random.Next(1, 20), random.Next(5), false, keep, use));
            Assert.Equal(keep.Packed, learner.KeepOf(id).Packed);
        }

        Assert.InRange(learner.Count, 1024, 1250);
    }

    [Fact]
    public void A_class_that_has_seen_little_scores_as_the_coarser_one_does()
    {
        var learner = new ReuseLearner();
        var use = new ChainUse { Gap = -1, SuffixTokens = 1000 };
        var common = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use));
        var never = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use with { SuffixTokens = 30_000 }));
        Teach(learner, common, reusedEvery: 1, never, reusedEverySecond: int.MaxValue);
        var rare = learner.ClassOf(ReuseClass.Of(1, 1, false, default, use with { Gap = 5000 }));
        Assert.Equal(learner.Score(common, 0), learner.Score(rare, 0), learner.Score(common, 0) * 0.2);
    }

    [Fact]
    public void Recency_is_preferred_once_it_hits_more_and_only_then()
    {
        const int slots = 2000;
        var worse = new PolicyContest(slots, some => new NewestGoes(some));
        var same = new PolicyContest(slots, some => new LruPolicy(some));
        var random = new Random(9);
        var chain = new ulong[64];
        for (var request = 1; request < 2000; request++)
        {
            // A window of chains that moves on: what is old is never used again.
            var group = (request / 20) + random.Next(10);
            for (var i = 0; i < chain.Length; i++)
                chain[i] = PolicyStore.Fingerprint($"{group}/{i}");
            var use = new ChainUse { Request = request, Now = request * 1000L };
            worse.Serve(chain, use);
            same.Serve(chain, use);
        }

        Assert.True(worse.PrefersRecency);
        Assert.False(same.PrefersRecency);
    }

    [Fact]
    public void It_needs_at_most_160_bytes_a_block_ghosts_and_shadows_included()
    {
        const int slots = 200_000;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var policy = new LearnedPolicy(slots);
        Assert.InRange((GC.GetAllocatedBytesForCurrentThread() - before) / slots, 56, 160);
        GC.KeepAlive(policy);
    }

    [Fact]
    public void Ghosts_remember_what_came_last_and_forget_the_oldest()
    {
        var ghosts = new GhostTable(64);
        var forgotten = 0;
        for (var i = 1; i <= 1000; i++)
        {
            var trail = new Trail { Touched = i * 16, Class = (ushort)i, Touches = 3, Level = 2 };
            if (ghosts.Add(PolicyStore.Fingerprint($"{i}"), trail, out _))
                forgotten++;
        }

        var kept = Enumerable.Range(1, 1000).Where(i => ghosts.TryGet(PolicyStore.Fingerprint($"{i}"), out _)).ToList();
        Assert.Equal(1000 - forgotten, kept.Count);
        Assert.True(kept.Average() > 900);
        Assert.True(ghosts.TryTake(PolicyStore.Fingerprint("1000"), out var last));
        Assert.Equal(new Trail { Touched = 16_000, Class = 1000, Touches = 3, Level = 2 }, last);
        Assert.False(ghosts.TryTake(PolicyStore.Fingerprint("1000"), out _));
    }

    [Fact]
    public void Slices_of_time_grow_with_their_age_and_lose_nothing_when_they_become_one()
    {
        var slices = new Slices();
        var began = new Dictionary<int, int>();
        for (var now = 0L; now < 10_000_000; now += 1000)
        {
            slices.Begin(now, (stays, goes) =>
            {
                began[stays] = began.GetValueOrDefault(stays) + began.GetValueOrDefault(goes);
                began.Remove(goes);
            });
            began[slices.Find(now)] = began.GetValueOrDefault(slices.Find(now)) + 1;
        }

        Assert.Equal(10_000, began.Values.Sum());
        Assert.InRange(slices.Count, 20, Slices.Max);
        for (var order = 0; order + 1 < slices.Count; order++)
            Assert.True(slices.Start(order) < slices.Start(order + 1));
    }

    private static double ShareOfLoopsHit(bool told, bool late)
    {
        const int capacity = 120;
        var policy = new LearnedPolicy(capacity);
        var store = new PolicyStore(policy, capacity);
        int hits = 0, asked = 0;
        var loops = new Queue<string>();
        for (var step = 0; step < 3000; step++)
        {
            var now = step * 500L;
            // 20 steps later 20 other chains of 8 blocks have come, and 10 that came back; what comes back needs 80 of the 120 blocks.
            if (loops.Count == 20 && loops.Dequeue() is var back && step % 2 == 0)
            {
                hits += store.Serve(back, now, told ? AnswerEnd.EndOfTurn : AnswerEnd.Unknown);
                asked += back.Length;
            }

            var loop = step % 2 == 0;
            var chain = string.Concat(Enumerable.Range(0, 8).Select(i => (char)('a' + (step * 31 + i) % 20000)));
            var end = loop ? AnswerEnd.ToolCall : AnswerEnd.EndOfTurn;
            store.Serve(chain, now, told && !late ? end : AnswerEnd.Unknown);
            if (told && late && store.Resident.Contains(chain))
                store.Tell(chain, end);
            loops.Enqueue(chain);
            if (step == 2000)
                hits = asked = 0;
        }

        return hits / (double)asked;
    }

    // 200 requests of each, one a second, each with one block; some are used again after 2 seconds.
    private static void Teach(ReuseLearner learner, ushort first, int reusedEvery, ushort second, int reusedEverySecond)
    {
        for (var i = 0; i < 200; i++)
        {
            var now = i * 1000L;
            learner.Advance(now);
            foreach (var (id, every) in new[] { (first, reusedEvery), (second, reusedEverySecond) })
            {
                learner.Begin(id, now, i + 1);
                if (i >= 2 && i % every == 0)
                    learner.End(id, now - 2000, now, reused: true);
            }
        }

        learner.Learn(200_000);
    }

    /// <summary>About the worst there is for a window that moves on.</summary>
    private sealed class NewestGoes(int slots) : OrderedPolicy(new ChainLists(slots), slots)
    {
        private readonly List<int> _order = [];

        public override void Touch(int slot, in ChainUse use)
        {
        }

        protected override void OnInsert(int slot, in ArrivingBlock block, in ChainUse use) => _order.Add(slot);

        protected override void OnRemove(int slot, bool evicted) => _order.Remove(slot);

        protected override int Oldest(in ArrivingBlock block, out long added)
        {
            added = 0;
            return _order.FindLast(Tree.CanGo) is var slot && _order.Exists(Tree.CanGo) ? slot : -1;
        }
    }
}
