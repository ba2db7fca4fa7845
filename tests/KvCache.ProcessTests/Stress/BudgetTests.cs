using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What one client can keep from eviction is a share of the memory, not of the bytes in it.</summary>
public sealed class BudgetTests
{
    private const int Pages = 1024; // of 4 KiB: an arena of 4 MiB

    private static readonly CacheNamespace Tiny = Prefixes.Namespace("tiny", KvLayout.Opaque(1, 1));
    private static readonly CacheNamespace Large = Prefixes.Namespace("large", KvLayout.Opaque(1 << 20, 1));

    [Fact]
    public async Task Holds_on_tiny_blocks_keep_no_more_than_their_share_of_the_arena()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "4MiB"));
        await using var client = silo.Connect();
        var prefix = Prefixes.New(Tiny, Pages);
        await client.MustStoreAsync(prefix);
        Assert.Equal((long)Pages * 4096, await client.StoreCounterAsync("arenaUsedBytes"));

        await using var first = await client.MatchAsync(prefix, TimeSpan.FromSeconds(30));
        await using var second = await client.MatchAsync(prefix, TimeSpan.FromSeconds(30));

        Assert.True(first.Held);
        Assert.Equal(Pages, first.Blocks);
        Assert.Equal(Pages / 4, await client.StoreCounterAsync("leasedBlocks"));
        await client.MustStoreAsync(Prefixes.New(Large, 1));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Pins_on_tiny_blocks_keep_no_more_than_their_share_of_the_arena()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "4MiB"));
        await using var client = silo.Connect();
        var prefix = Prefixes.New(Tiny, Pages);
        await client.MustStoreAsync(prefix);

        Assert.Equal(Pages / 2, await client.PinAsync(prefix, TimeSpan.FromHours(1)));

        await client.MustStoreAsync(Prefixes.New(Large, 1));
        Assert.Equal((long)Pages / 2 * 4096, await client.StoreCounterAsync("pinnedBytes"));
        await client.PinAsync(prefix, TimeSpan.Zero);
        Assert.Equal(0, await client.StoreCounterAsync("pinnedBytes"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task As_many_tiny_blocks_as_a_request_may_have_are_stored_in_bounded_memory()
    {
        const int Requests = 3;
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "256MiB"));
        await using var client = silo.Connect();
        for (var request = 0; request < Requests; request++)
        {
            var prefix = Prefixes.New(Tiny, WireProtocol.MaxBlocksPerRequest);
            await client.MustStoreAsync(prefix);
            Assert.Equal(prefix.BlockCount, (await client.MatchAsync(prefix)).Blocks);
        }

        var used = await client.StoreCounterAsync("arenaUsedBytes");
        Assert.Equal((long)Requests * WireProtocol.MaxBlocksPerRequest * 4096, used);
        Report.Line($"{Requests * WireProtocol.MaxBlocksPerRequest} blocks of one byte take {used >> 20} MiB of the arena, the silo has "
            + $"{silo.ResidentBytes >> 20} MiB resident.");
        Assert.InRange(silo.ResidentBytes, 0, 1L << 30);
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Holds_end_with_their_time_and_with_their_connection()
    {
        await using var silo = await SiloProcess.StartAsync();
        await using var client = silo.Connect();
        await using var other = silo.Connect();
        var prefix = Prefixes.New(Large, 4);
        await client.MustStoreAsync(prefix);

        await using (var held = await client.MatchAsync(prefix, TimeSpan.FromHours(1)))
            Assert.Equal(4, await other.StoreCounterAsync("leasedBlocks"));
        Assert.Equal(0, await other.StoreCounterAsync("leasedBlocks"));

        await client.MatchAsync(prefix, TimeSpan.FromMilliseconds(100));
        await Eventually.TrueAsync("the hold's time is over", async () => await other.StoreCounterAsync("leasedBlocks") == 0);

        await client.MatchAsync(prefix, TimeSpan.FromHours(1));
        Assert.Equal(4, await other.StoreCounterAsync("leasedBlocks"));
        await client.DisposeAsync();
        await Eventually.TrueAsync("the hold went with its connection", async () => await other.StoreCounterAsync("leasedBlocks") == 0);
    }
}
