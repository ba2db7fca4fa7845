using System.Diagnostics;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Silos on a machine whose cores are all busy.</summary>
[Collection(typeof(Apart))]
public sealed class FullLoadTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("busy", KvLayout.Opaque([0, 64 << 10, 256 << 10], 16));

    [Fact]
    public async Task No_silo_is_taken_for_dead_under_full_load()
    {
        await using var silos = await SiloCluster.StartAsync(3);
        var prefixes = Enumerable.Range(0, 12).Select(_ => Prefixes.New(Ns, 16)).ToArray();
        await using var load =
            await Load.StartAsync(
            silos.ConnectAll(Eventually.Bound, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2), i => prefixes[i], new StoreOptions(Replicas: 2));
        using var done = new CancellationTokenSource();
        var spinning = Enumerable.Range(0, 2 * Environment.ProcessorCount)
            .Select(_ => Task.Factory.StartNew(() => Burn(done.Token), TaskCreationOptions.LongRunning)).ToArray();
        var began = Stopwatch.GetTimestamp();

        // Longer than it takes to declare a death, three times over.
        await Eventually.TrueAsync("there was full load for 15 s", () => Stopwatch.GetElapsedTime(began) > TimeSpan.FromSeconds(15));

        await done.CancelAsync();
        await Task.WhenAll(spinning);
        await load.StopAsync();
        Assert.Equal(3, silos.Living.Count());
        await silos.AllCountAsync(3, "every silo is a member for all");
        foreach (var silo in silos.Living)
            Assert.DoesNotContain(" has left (", silos[silo].Log, StringComparison.Ordinal);
        silos.AssertHealthy();
    }

    private static void Burn(CancellationToken done)
    {
        while (!done.IsCancellationRequested)
            Thread.SpinWait(1000);
    }
}
