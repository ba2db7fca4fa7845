using KvCache.Client.Cluster;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class FetchPlanTests
{
    private const int A = 0, B = 1, C = 2; // A is the home silo
    private const int ThroughHome = FetchPlan.ThroughHome;

    [Fact]
    public void Every_silo_is_asked_for_what_it_holds_at_the_same_time()
    {
        var plan = Plan(new bool[6], 0, Run(2, A), Run(1, B), Run(2, C), Run(1, B));
        Assert.True(plan.IsSpread);
        Check(plan.Next(), (A, [0, 1]), (B, [2, 5]), (C, [3, 4]));
        Assert.Empty(plan.Next());
    }

    [Fact]
    public void The_home_silo_comes_first_and_others_share_the_rest()
    {
        var plan = Plan(new bool[6], 0, Run(2, A, B, C), Run(4, B, C));
        Check(plan.Next(), (A, [0, 1]), (B, [2, 4]), (C, [3, 5]));
    }

    [Fact]
    public void What_lies_at_home_is_not_spread()
    {
        Assert.False(Plan(new bool[3], 0, Run(2, A), Run(1, A, B)).IsSpread);
        Assert.True(Plan(new bool[3], 0, Run(2, A), new BlockRun(1, BlockRun.Redis)).IsSpread);
    }

    [Fact]
    public void What_only_Redis_has_comes_through_the_home_silo()
    {
        var plan = Plan(new bool[3], 0, Run(1, A), new BlockRun(2, BlockRun.Redis));
        Check(plan.Next(), (A, [0]), (ThroughHome, [1, 2]));
    }

    [Fact]
    public void Blocks_of_a_silo_that_failed_are_asked_of_another_holder_while_others_still_deliver()
    {
        var complete = new bool[4];
        var plan = Plan(complete, 0, Run(1, A), Run(3, B, C));
        var steps = plan.Next();
        Check(steps, (A, [0]), (B, [1, 3]), (C, [2]));
        plan.Answered(steps[1], 1, MissReason.Unavailable);
        Assert.Empty(plan.Next()); // C is busy
        plan.Answered(steps[2], 1, MissReason.None);
        var again = plan.Next();
        Check(again, (C, [3]));
        plan.Answered(again[0], 1, MissReason.None);
        plan.Answered(steps[0], 1, MissReason.None);
        Assert.Empty(plan.Next());
        Assert.Equal([true, true, true, true], complete);
    }

    [Fact]
    public void When_no_holder_is_left_the_home_silo_fetches_and_then_the_block_is_lost()
    {
        var complete = new bool[3];
        var plan = Plan(complete, 0, Run(3, B));
        var direct = plan.Next();
        plan.Answered(direct[0], 1, MissReason.Unavailable);
        var through = plan.Next();
        Check(through, (ThroughHome, [1, 2]));
        plan.Answered(through[0], 0, MissReason.Absent);

        // Block 2 is of no use without block 1.
        Assert.Empty(plan.Next());
        Assert.Equal(1, plan.End);
        Assert.Equal([true, false, false], complete);
        Assert.Equal(MissReason.Unavailable, plan.Reason);
    }

    [Fact]
    public void An_evicted_block_does_not_cost_the_others_of_its_silo()
    {
        var complete = new bool[4];
        var plan = Plan(complete, 0, Run(4, B));
        var first = plan.Next()[0];
        plan.Answered(first, 1, MissReason.Absent);
        var next = plan.Next();
        Check(next, (ThroughHome, [1]), (B, [2, 3]));
        plan.Answered(next[1], 2, MissReason.None);
        plan.Answered(next[0], 1, MissReason.None);
        Assert.Empty(plan.Next());
        Assert.DoesNotContain(false, complete);
    }

    [Fact]
    public void A_silo_that_has_nothing_of_what_it_should_is_not_asked_for_ever()
    {
        var plan = Plan(new bool[100], 0, Run(100, B));
        var asked = 0;
        for (var steps = plan.Next(); steps.Exists(step => step.Silo == B); steps = plan.Next())
        {
            plan.Answered(steps.Find(step => step.Silo == B)!, 0, MissReason.Absent);
            asked++;
        }

        Assert.Equal(3, asked);
    }

    [Fact]
    public void A_damaged_block_is_read_elsewhere_and_otherwise_said_to_be_damaged()
    {
        var plan = Plan(new bool[1], 0, Run(1, A, B));
        plan.Answered(plan.Next()[0], 0, MissReason.Corrupt);
        var next = plan.Next();
        Check(next, (B, [0]));
        plan.Answered(next[0], 0, MissReason.Absent);
        next = plan.Next();
        Check(next, (ThroughHome, [0]));
        plan.Answered(next[0], 0, MissReason.Absent);
        Assert.Empty(plan.Next());
        Assert.Equal(MissReason.Corrupt, plan.Reason);
    }

    [Fact]
    public void What_is_complete_already_is_not_asked_for()
    {
        var plan = Plan([true, false, true, false], 1, Run(3, B));
        Check(plan.Next(), (B, [1, 3]));
    }

    [Fact]
    public void What_the_home_silo_was_found_not_to_have_is_asked_elsewhere()
    {
        var plan = Plan(new bool[2], 0, Run(2, A, B));
        plan.Missed(0, plan.Home, MissReason.Absent);
        Check(plan.Next(), (B, [0]), (A, [1]));
    }

    [Fact]
    public void A_lost_home_silo_leaves_its_blocks_to_the_next_one_and_the_rest_goes_on()
    {
        var complete = new bool[3];
        var plan = Plan(complete, 0, Run(1, A), Run(1, A, B), new BlockRun(1, BlockRun.Redis));
        var steps = plan.Next();
        Check(steps, (A, [0, 1]), (ThroughHome, [2]));
        plan.LoseHome();
        foreach (var step in steps)
            plan.Answered(step, 0, MissReason.Unavailable);
        var rest = plan.Next();
        Check(rest, (B, [1]));
        plan.Answered(rest[0], 1, MissReason.None);
        Assert.Empty(plan.Next());
        Assert.True(plan.HomeLost);
        Assert.Equal([false, true, false], complete);
    }

    [Fact]
    public void What_nobody_holds_is_absent()
    {
        var complete = new bool[2];
        var plan = Plan(complete, 0, Run(1, A));
        plan.Answered(plan.Next()[0], 1, MissReason.None);
        Assert.Empty(plan.Next());
        Assert.Equal(MissReason.Absent, plan.Reason);
        Assert.Empty(Plan(new bool[2], 0).Next());
    }

    [Fact]
    public void More_silos_than_an_answer_may_have_are_ignored()
    {
        var silos = Enumerable.Range(0, 80).Select(silo => new BlockHolder(silo == 79, [$"tcp:silo{silo}:1"])).ToArray();
        var plan = new FetchPlan(
            new bool[2], 0, new BlockLocations(2, silos, [new BlockRun(1, 1UL << 62), new BlockRun(1, BlockRun.Redis)]));
        Check(plan.Next(), (62, [0]), (ThroughHome, [1]));
        Assert.Equal(-1, plan.Home);
    }

    // Whatever silos do: one attempt at a time for a block, an end, and nothing is called complete that was not delivered.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_plan_ends_and_never_asks_two_silos_for_a_block_at_the_same_time(int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < 500; round++)
        {
            var blocks = random.Next(1, 20);
            var complete = new bool[blocks];
            var delivered = new bool[blocks];
            var plan = Plan(
                complete, 0, [.. Enumerable.Range(0, blocks)
                .Select(_ => new BlockRun(1, (uint)random.Next(8) | (random.Next(2) == 0 ? BlockRun.Redis : 0)))]);
            var running = new List<FetchStep>();
            for (var calls = 0; ; calls++)
            {
                Assert.InRange(calls, 0, 100);
                running.AddRange(plan.Next());
                if (running.Count == 0)
                    break;
                Assert.Distinct(running.SelectMany(step => step.Blocks));
                Assert.Distinct(running.Select(step => step.Silo));
                var step = running[random.Next(running.Count)];
                running.Remove(step);
                var count = random.Next(step.Blocks.Count + 1);
                step.Blocks.Take(count).ToList().ForEach(block => delivered[block] = true);
                plan.Answered(step, count, count == step.Blocks.Count ? MissReason.None : (MissReason)random.Next(1, 6));
            }

            Assert.Equal(delivered, complete);
        }
    }

    private static FetchPlan Plan(bool[] complete, int first, params BlockRun[] runs) =>
        new(complete, first,
            new BlockLocations(
            runs.Sum(run => run.Blocks),
            [new BlockHolder(true, ["tcp:a:1"]), new BlockHolder(false, ["tcp:b:1"]), new BlockHolder(false, ["tcp:c:1"])], runs));

    private static BlockRun Run(int blocks, params int[] silos) => new(blocks, silos.Aggregate(0UL, (mask, silo) => mask | (1UL << silo)));

    private static void Check(List<FetchStep> steps, params (int Silo, int[] Blocks)[] expected) =>
        Assert.Equal(expected.Select(step => Text(step.Silo, step.Blocks)), steps.Select(step => Text(step.Silo, step.Blocks)));

    private static string Text(int silo, IEnumerable<int> blocks) => $"{silo}: {string.Join(' ', blocks)}";
}
