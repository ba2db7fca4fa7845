using KvCache.Client.Cluster;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class HoldPlanTests
{
    private static readonly BlockHolder Home = new(true, ["tcp:a:1", "unix:/a"]);
    private static readonly BlockHolder B = new(false, ["tcp:b:1"]);
    private static readonly BlockHolder C = new(false, ["tcp:c:1"]);
    private static readonly CacheNamespace[] Ranks = [.. RankGroup.AllOf(Names.Namespace with { TensorParallelSize = 2 }).Namespaces];

    [Fact]
    public void What_lies_at_home_or_in_Redis_needs_no_other_silo()
    {
        Assert.Empty(HoldPlan.Of(Ranks, [new BlockLocations(3, [Home, B], [new BlockRun(2, 3), new BlockRun(1, BlockRun.Redis)])]));
        Assert.Empty(HoldPlan.Of(Ranks, []));
    }

    [Fact]
    public void Few_silos_are_asked()
    {
        var steps = HoldPlan.Of(Ranks, [new BlockLocations(4, [Home, B, C], [new BlockRun(1, 4), new BlockRun(2, 6), new BlockRun(1, 1)])]);
        Assert.Equal("tcp:c:1 of rank 0: 0 1 2", Text(Assert.Single(steps)));
    }

    [Fact]
    public void Ranks_that_lie_on_one_silo_are_asked_for_together_however_their_answers_number_it()
    {
        var steps = HoldPlan.Of(
            Ranks,
            [new BlockLocations(2, [Home, B, C], [new BlockRun(1, 2), new BlockRun(1, 4)]),
                new BlockLocations(2, [C, B], [new BlockRun(2, 2)])]);
        Assert.Equal(["tcp:b:1 of rank 0 1: 0 1", "tcp:c:1 of rank 0: 1"], steps.Select(Text));
    }

    [Fact]
    public void Bits_without_a_silo_are_nobody()
    {
        Assert.Empty(HoldPlan.Of(Ranks, [new BlockLocations(1, [Home], [new BlockRun(1, 0xF0)])]));
    }

    private static string Text(HoldStep step) =>
        $"{step.Endpoints[0]} of rank {string.Join(' ', step.Namespaces.Select(ns => ns.TensorParallelRank))}: "
            + $"{string.Join(' ', step.Blocks)}";
}
