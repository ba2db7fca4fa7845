using KvCache.Client;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class RoutePlanTests
{
    private const ulong Self = 1, Other = 2;

    private static readonly RouteWeights Weights = new(Memory: 0.1, Cluster: 0.2, Redis: 0.5);

    [Fact]
    public void Every_token_comes_from_the_cheapest_tier_that_has_it()
    {
        // 16 of 450 tokens in the GPU; blocks of 100 here and there, in Redis and here, elsewhere, in Redis; the rest is computed.
        var plan = RoutePlan.Create(
            450, 100, [Self | Other, Self | BlockRun.Redis, Other | BlockRun.Redis, BlockRun.Redis], Self, 16, Weights);

        Assert.Equal((16, 184, 100, 100, 50), (plan.Gpu, plan.Memory, plan.Cluster, plan.Redis, plan.Compute));
        Assert.Equal(1 - ((18.4 + 20 + 50 + 50) / 450), plan.Score, 12);
    }

    [Fact]
    public void The_score_is_one_for_a_prompt_in_the_gpu_and_zero_for_one_nobody_has()
    {
        Assert.Equal(1, RoutePlan.Create(64, 100, [], Self, 64, Weights).Score);
        Assert.Equal(0, RoutePlan.Create(64, 100, [], Self, 0, Weights).Score);
        Assert.Equal(64, RoutePlan.Create(64, 100, [], Self, 80, Weights).Gpu);
    }

    [Fact]
    public void A_tier_holds_the_front_of_a_prompt_up_to_its_first_gap() =>
        Assert.Equal(200, RoutePlan.FrontTokens(100, [Self, Self | Other, Other, Self], Self));

    [Fact]
    public void A_router_prefers_the_silo_that_has_more()
    {
        var locations = new BlockLocations(
            3,
            [new BlockHolder(true, ["tcp:a:1"]), new BlockHolder(false, ["tcp:b:1"])],
            [new BlockRun(1, Self | Other), new BlockRun(2, Other | BlockRun.Redis)]);

        var routes = KvRouter.Rank(locations, 350, 100, Weights);

        Assert.Equal(["tcp:b:1", "tcp:a:1"], routes.Select(route => route.Silo.Endpoints[0]));
        Assert.Equal((300, 0, 50), (routes[0].Plan.Memory, routes[0].Plan.Cluster, routes[0].Plan.Compute));
        Assert.Equal((100, 200, 50), (routes[1].Plan.Memory, routes[1].Plan.Cluster, routes[1].Plan.Compute));
    }
}
