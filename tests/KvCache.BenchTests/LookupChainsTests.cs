using System.Text;
using KvCache.Bench.Lookup;
using KvCache.Bench.Redis;

namespace KvCache.BenchTests;

public sealed class LookupChainsTests
{
    [Fact]
    public void Two_processes_agree_on_the_blocks_and_no_block_comes_twice()
    {
        var chains = LookupChains.Stored(1000);
        Assert.Equal(2, chains.Count);
        Assert.True(chains.All.SequenceEqual(LookupChains.Stored(1000).All));
        Assert.Equal(1024, chains.All.ToArray().Distinct().Count());
        Assert.Empty(chains.All.ToArray().Intersect(LookupChains.Absent().All.ToArray()));
    }

    [Fact]
    public void Calls_go_through_all_prompts_before_one_comes_again()
    {
        var chains = LookupChains.Stored(1024);
        Assert.True(chains.OfCall(0).SequenceEqual(chains.All[..LookupChains.Length]));
        Assert.True(chains.OfCall(1).SequenceEqual(chains.All[LookupChains.Length..]));
        Assert.True(chains.OfCall(2).SequenceEqual(chains.OfCall(0)));
        Assert.Equal(LookupChains.Length, chains.OfCall(int.MinValue).Length);
    }

    [Fact]
    public void A_command_of_redis_is_an_array_of_bulk_strings() =>
        Assert.Equal(
            "*3\r\n$6\r\nEXISTS\r\n$1\r\na\r\n$0\r\n\r\n",
            Encoding.ASCII.GetString(new RespCommand("EXISTS", 2).Add("a"u8).Add([]).ToArray()));
}
