using KvCache.Bench.FirstToken;

namespace KvCache.BenchTests;

public sealed class TtftTests
{
    [Fact]
    public void Free_memory_is_read_as_the_kernel_writes_it()
    {
        Assert.Equal(18L << 20, HostMemory.Parse(["MemTotal:       24000000 kB", "MemAvailable:      18432 kB"]));
        Assert.Null(HostMemory.Parse(["MemTotal: 1 kB"]));
    }

    [Theory]
    [InlineData(100, 1)]
    [InlineData(120, 0)]
    [InlineData(105, 0.75)]
    public void A_load_is_hidden_as_far_as_the_first_token_does_not_wait_for_it(double warm, double expected)
    {
        var round = new TtftRound(
            new Dictionary<string, double[]>
            {
                ["ttft.resident"] = [100, 200, 300],
                ["ttft.warm.tcp"] = [warm, warm + 100, warm + 200],
                ["load.tcp"] = [20, 20, 20]
            });
        Assert.Equal(expected, round.Hidden("ttft.warm.tcp", "load.tcp"), 9);
    }
}
