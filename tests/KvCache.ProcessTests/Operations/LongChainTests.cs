using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>Chains of more blocks than one request takes.</summary>
public sealed class LongChainTests
{
    private const int Blocks = 17_000; // a request takes 16,384

    private static readonly CacheNamespace Ns = Prefixes.Namespace("long", KvLayout.Opaque(8, 1));

    // The answer to a request for leases has room for 2,500 blocks of so many layers.
    private static readonly CacheNamespace Layered = Prefixes.Namespace("layered", KvLayout.Opaque([.. Enumerable.Range(0, 101)], 1));

    [Fact]
    public async Task Every_call_takes_a_chain_of_any_length_or_says_how_long_it_may_be()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "256MiB"));
        // Each of 17,000 grains is asked several times.
        await using var client = silo.Connect(configure: options => options.LoadTimeout = options.StoreTimeout = TimeSpan.FromMinutes(3));
        var prefix = Prefixes.New(Ns, Blocks);
        var bytes = Enumerable.Range(0, Blocks).Select(block => (ReadOnlyMemory<byte>)BitConverter.GetBytes((long)block)).ToArray();
        Assert.Equal(new StoreResult(Blocks, 0, 0, MissReason.None, null), await client.StoreAsync(prefix, 0, bytes));

        Assert.Equal((Blocks, MissReason.None), await MatchAsync(TimeSpan.Zero));
        Assert.Equal((Blocks, MissReason.None), await MatchAsync(TimeSpan.FromSeconds(5)));
        var memory = prefix.Memory(Blocks);
        Assert.Equal(new LoadResult(Blocks, MissReason.None), await client.LoadAsync(prefix, 0, memory));
        Assert.All(memory, (block, index) => Assert.Equal(index, BitConverter.ToInt64(block.Span)));
        Assert.Contains(
            "at most 16384", Assert.Throws<ArgumentException>(() => client.LoadLayersAsync(prefix, 0, memory)).Message,
            StringComparison.Ordinal);
        Assert.Equal(Blocks, await client.PinAsync(prefix, TimeSpan.FromSeconds(1)));
        Assert.Equal(Blocks, await client.PinAsync(prefix, TimeSpan.Zero));

        var gap = new KvPrefix(Ns, PrefixChain.FromHashes(prefix.Chain.Hashes[16_500..16_501], 1));
        Assert.Equal(1, (await client.DeleteAsync(gap)).Deleted);
        Assert.Equal((16_500, MissReason.Absent), await MatchAsync(TimeSpan.FromSeconds(5)));
        Assert.Equal(Blocks - 1, (await client.DeleteAsync(prefix)).Deleted);

        async Task<(int Blocks, MissReason Reason)> MatchAsync(TimeSpan hold)
        {
            await using var match = await client.MatchAsync(prefix, hold);
            return (match.Blocks, match.Reason);
        }
    }

    [Fact]
    public async Task More_blocks_are_mapped_than_the_answer_to_one_request_names()
    {
        await using var silo =
            await SiloProcess.StartAsync(new SiloSettings(Arena: "256MiB", UseArenaFile: true, Arguments: ["--shared-memory"]));
        await using var client = silo.Connect(silo.Unix, options => options.SharedMemory = true);
        var prefix = Prefixes.New(Layered, 3_000);
        await client.MustStoreAsync(prefix);

        using var mapped = await client.MapAsync(prefix, 0, 3_000);

        Assert.Equal((3_000, MissReason.None), (mapped.Count, mapped.Reason));
        Assert.True(Content.IsRight(mapped[2_999].Bytes, prefix.Key(2_999)));
    }
}
