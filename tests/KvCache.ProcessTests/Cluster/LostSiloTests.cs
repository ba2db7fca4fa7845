using System.Diagnostics;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>Silos that are killed or frozen, in a cluster without a Redis.</summary>
[Trait("run", "kills")]
public sealed class LostSiloTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(5);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("lost", KvLayout.Opaque([0, 64 << 10, 256 << 10], 16));

    [Fact]
    public async Task A_prefix_with_two_copies_is_hit_again_at_once_when_one_of_its_silos_is_killed_and_gets_a_new_copy()
    {
        await using var silos = await SiloCluster.StartAsync(3);
        var copied = Prefixes.New(Ns, 16);
        var unread = Prefixes.New(Ns, 16);
        var others = new[] { Prefixes.New(Ns, 8), Prefixes.New(Ns, 8) };
        await using var first = silos.Connect(0);
        await using var holder = silos.Connect(1);
        await using var third = silos.Connect(2);
        foreach (var prefix in (KvPrefix[])[copied, unread])
            Assert.Equal(16, (await holder.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Replicas: 2))).Stored);
        await first.MustStoreAsync(others[0]);
        await third.MustStoreAsync(others[1]);
        await Eventually.TrueAsync("two silos have copies", () => silos.Copies(copied) == 2 * 16 && silos.Copies(unread) == 2 * 16);
        await using var load = await Load.StartAsync(silos.ConnectAll(Deadline, 0, 2, 0, 2), i => others[i % 2]);

        // Read through the silo that has none of it, so that the copies are what counts.
        await using var reader = silos.Connect(silos.BlocksAt(0, copied) == 0 ? 0 : 2, SiloCluster.Within(Deadline));
        await silos[1].KillAsync();
        await Eventually.TrueAsync("the prefix is hit again after kill -9 of its silo", () => reader.LoadsAsync(copied));

        await silos.AllCountAsync(2, "the silo is declared dead");
        await Eventually.TrueAsync("what nobody read has two copies again", () => silos.Copies(unread) == 2 * 16);
        await load.MoreHitsAsync("the others are still served", 20);
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
        await first.MustLoadAsync(unread);
        silos.AssertHealthy();
    }

    [Fact]
    public async Task A_deletion_does_not_wait_for_silos_that_are_certainly_gone()
    {
        await using var silos = await SiloCluster.StartAsync(
            4, settings: new SiloSettings(Settings: new Dictionary<string, string> { ["KvCache:Cluster:CutOffLimit"] = "60s" }));
        await using var client = silos.Connect(0, SiloCluster.Within(TimeSpan.FromSeconds(30)));
        var prefixes = Enumerable.Range(0, 4).Select(_ => Prefixes.New(Ns, 4)).ToArray();
        foreach (var prefix in prefixes)
            await client.MustStoreAsync(prefix);

        await silos[1].KillAsync();
        await silos.AllCountAsync(3, "the killed silo is declared dead");
        Assert.Equal(new DeleteResult(4, IsConfirmed: true), await client.DeleteAsync(prefixes[0]));

        Assert.Equal(0, await silos[2].StopAsync());
        await silos.AllCountAsync(2, "the silo that was asked to end has left");
        Assert.Equal(new DeleteResult(4, IsConfirmed: true), await client.DeleteAsync(prefixes[1]));

        await silos[3].KillAsync();
        await silos.StartAsync(3);
        await silos.AllSeeAllAsync();
        Assert.Equal(new DeleteResult(4, IsConfirmed: true), await client.DeleteAsync(prefixes[2]));
        silos.AssertHealthy();
    }

    [Fact]
    public async Task Readers_go_on_within_their_deadline_while_a_silo_is_frozen()
    {
        await using var silos = await SiloCluster.StartAsync(3);
        var frozen = Prefixes.New(Ns, 8);
        var served = Prefixes.New(Ns, 8);
        await using var first = silos.Connect(0);
        await using var holder = silos.Connect(1);
        await holder.MustStoreAsync(frozen);
        await first.MustStoreAsync(served);
        await using var load = await Load.StartAsync(silos.ConnectAll(Deadline, 0, 2, 0, 2), _ => served);
        await using var reader = silos.Connect(2, SiloCluster.Within(Deadline));
        await Eventually.TrueAsync("the silo is known to have its prefix", async () => (await reader.MatchAsync(frozen)).Blocks == 8);

        silos[1].Pause();
        var began = Stopwatch.GetTimestamp();
        var memory = frozen.Memory(8);
        var loaded = await reader.LoadAsync(frozen, 0, memory);
        Report.Line("The first load of a prefix whose only silo is frozen ended after "
            + $"{Stopwatch.GetElapsedTime(began).TotalMilliseconds:0} ms: {loaded}.");
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, Deadline + TimeSpan.FromSeconds(5));
        Assert.NotEqual(MissReason.Refused, loaded.Reason);
        await Eventually.TrueAsync("its prefix is not found any more", async () => (await reader.MatchAsync(frozen)).Blocks == 0);
        await load.MoreHitsAsync("the others are served", 20);

        // Frozen for longer than the others wait for a sign of life, it is dead for them, and ends when it hears of that.
        silos[1].Resume();
        await Eventually.TrueAsync(
            "the silo is back with its blocks, or has ended", async () => silos[1].HasExited || await reader.LoadsAsync(frozen));
        Report.Line(silos[1].HasExited ? "It had been declared dead, and ended." : "It went on.");
        await load.StopAsync();
        Assert.Equal(0, load.Misses);
        await silos.AllSeeAllAsync();
    }
}
