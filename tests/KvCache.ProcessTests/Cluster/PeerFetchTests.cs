using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Readers of one silo whose blocks lie on another.</summary>
public sealed class PeerFetchTests
{
    private const int Blocks = 256, Readers = 16, Rounds = 20;

    private static readonly CacheNamespace Ns = Prefixes.Namespace("fetched", KvLayout.Opaque([0, 4096], 16));

    [Fact]
    public async Task Readers_who_begin_at_different_blocks_of_a_chain_all_get_theirs()
    {
        await using var silos = await SiloCluster.StartAsync(2);
        await using var writer = silos.Connect(0);
        await using var other = silos.Connect(1);
        for (var round = 0; round < Rounds; round++)
        {
            var prefix = Prefixes.New(Ns, Blocks);
            await writer.MustStoreAsync(prefix);
            await Eventually.TrueAsync("the other silo knows the chain", async () => (await other.MatchAsync(prefix)).Blocks == Blocks);
            var delivered = await Task.WhenAll(Enumerable.Range(0, Readers).Select(reader => Task.Factory.StartNew(
                () => Get(silos[1].Tcp, prefix, 2 * reader), TaskCreationOptions.LongRunning)));
            Assert.Equal(Enumerable.Range(0, Readers).Select(reader => Blocks - (2 * reader)), delivered);
        }

        silos.AssertHealthy();
    }

    [Fact]
    public async Task A_connection_that_was_closed_while_idle_costs_no_miss()
    {
        await using var silos = await SiloCluster.StartAsync(2, settings: new SiloSettings(Settings: new Dictionary<string, string>
        {
            ["KvCache:DataPlane:IdleTimeout"] = "00:00:05",
        }));
        await using var writer = silos.Connect(0);
        await using var other = silos.Connect(1);
        var prefixes = Enumerable.Range(0, 3).Select(_ => Prefixes.New(Ns, 1)).ToArray();
        foreach (var prefix in prefixes)
        {
            await writer.MustStoreAsync(prefix);
            await Eventually.TrueAsync("the other silo knows the block", async () => (await other.MatchAsync(prefix)).Blocks == 1);
        }

        for (var i = 0; i < prefixes.Length; i++)
        {
            Assert.Equal(1, Get(silos[1].Tcp, prefixes[i], 0));
            if (i + 1 < prefixes.Length)
                await Eventually.TrueAsync("only the link to the other silo is left, which is never idle", async () =>
                    await silos.MetricAsync(0, "kvcache_connections") == 1);
        }

        Assert.Equal(0, await silos.MetricAsync(1, "kvcache_fetch_blocks", "outcome=\"failed\""));
        Assert.Equal(3, await silos.MetricAsync(1, "kvcache_fetch_blocks", "outcome=\"fetched\""));
    }

    // The silo that is asked fetches what it lacks.
    private static int Get(string endpoint, KvPrefix prefix, int first)
    {
        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(endpoint)!, prefix.Namespace.Tenant, "");
        ReadOnlySpan<BlockHash> hashes = prefix.Chain.Hashes[first..];
        var memory = prefix.Memory(hashes.Length);
        var delivered = 0;
        connection.Get(
            prefix.Namespace, hashes, prefix.Namespace.Layout.AllLayers, memory, 0, localOnly: false, ref delivered);
        for (var i = 0; i < delivered; i++)
            Assert.True(Content.IsRight(memory[i].Span, prefix.Key(first + i)));
        return delivered;
    }
}
