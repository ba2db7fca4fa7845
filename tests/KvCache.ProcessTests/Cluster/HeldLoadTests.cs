using KvCache.Client;
using KvCache.Engine.Wire;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Loads behind a match with a hold: where the blocks are is known, and what is held is read.</summary>
public sealed class HeldLoadTests(ClientClusterTests.Cluster shared) : IClassFixture<ClientClusterTests.Cluster>, IDisposable
{
    private const int BlockBytes = 64 << 10;

    private static readonly TimeSpan Hold = TimeSpan.FromSeconds(60);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("held", KvLayout.Opaque([0, 16 << 10, BlockBytes], 16));
    private static readonly string[] Types = ["match", "locate", "get", "get_layers", "release"];

    private SiloCluster Silos => shared.Silos;

    public void Dispose() => Silos.WriteLogs();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_hit_is_two_round_trips_and_one_look_up(bool byLayers)
    {
        var prefix = Prefixes.New(Ns, 5);
        await using var client = Silos.Connect(0);
        await client.MustStoreAsync(prefix);
        await HitAsync(); // connections and namespaces are there from now on

        // The match looks into the index, once; a get of what is held looks for nothing.
        var before = await RequestsAsync(client);
        await HitAsync();
        var after = await RequestsAsync(client);

        Assert.Equal(byLayers ? [1, 0, 0, 1, 0] : [1, 0, 1, 0, 0], after.Zip(before, (now, then) => now - then));

        async Task HitAsync()
        {
            await using var match = await client.MatchAsync(prefix, Hold);
            Assert.True(match.Held);
            var memory = prefix.Memory(5);
            if (byLayers)
                await foreach (var layer in client.LoadLayersAsync(prefix, 0, memory, match: match))
                    Assert.Equal((5, MissReason.None), (layer.Blocks, layer.Reason));
            else
                Assert.Equal(new LoadResult(5, MissReason.None), await client.LoadAsync(prefix, 0, memory, match: match));
            prefix.AssertRight(memory);
        }
    }

    [Fact]
    public async Task Blocks_at_several_silos_are_not_looked_for_once_more()
    {
        var prefix = Prefixes.New(Ns, 12);
        for (var silo = 0; silo < 3; silo++)
        {
            await using var writer = Silos.Connect(silo);
            await writer.StoreAsync(prefix, 4 * silo, prefix.Blocks()[(4 * silo)..(4 * (silo + 1))]);
        }

        await using var client = Silos.Connect(0);
        await Eventually.TrueAsync("the whole prefix is found", async () => (await client.MatchAsync(prefix)).Blocks == 12);
        var before = await RequestsAsync(client);

        await using var match = await client.MatchAsync(prefix, Hold);
        var memory = prefix.Memory(12);
        Assert.Equal(new LoadResult(12, MissReason.None), await client.LoadAsync(prefix, 0, memory, match: match));

        prefix.AssertRight(memory);
        Assert.Equal(0, (await RequestsAsync(client))[1] - before[1]);
    }

    [Fact]
    public async Task A_hold_ends_with_the_last_byte_of_the_last_block_that_it_keeps()
    {
        var prefix = Prefixes.New(Ns, 5);
        await using KvCacheClient client = Silos.Connect(0), other = Silos.Connect(0);
        await client.MustStoreAsync(prefix);
        var used = await other.StoreCounterAsync("leasedBlocks");
        await using var match = await client.MatchAsync(prefix, Hold);
        Assert.Equal(used + 5, await other.StoreCounterAsync("leasedBlocks"));

        await client.LoadAsync(prefix, 0, prefix.Memory(3), match: match);
        Assert.Equal(used + 5, await other.StoreCounterAsync("leasedBlocks"));

        await client.LoadAsync(prefix, 3, prefix.Memory(2), match: match);
        await Eventually.TrueAsync("nothing is held", async () => await other.StoreCounterAsync("leasedBlocks") == used);

        // The match is advice: another load of it finds the blocks all the same.
        var memory = prefix.Memory(5);
        Assert.Equal(new LoadResult(5, MissReason.None), await client.LoadAsync(prefix, 0, memory, match: match));
        prefix.AssertRight(memory);
    }

    [Fact]
    public async Task What_ranks_have_in_common_is_held_until_the_last_of_them_has_read_it()
    {
        var group = RankGroup.AllOf(Ns with { Model = "ranks", TensorParallelSize = 2 });
        var chain = Prefixes.New(Ns, 4).Chain;
        await using KvCacheClient client = Silos.Connect(0), other = Silos.Connect(0);
        for (var rank = 0; rank < 2; rank++)
            await client.MustStoreAsync(group.PrefixOf(rank, chain));
        var used = await other.StoreCounterAsync("leasedBlocks");
        await using var match = await client.MatchAsync(group, chain, Hold);
        for (var rank = 0; rank < 2; rank++)
        {
            Assert.Equal(used + 8, await other.StoreCounterAsync("leasedBlocks"));
            var prefix = group.PrefixOf(rank, chain);
            var memory = prefix.Memory(4);
            Assert.Equal(new LoadResult(4, MissReason.None), await client.LoadAsync(prefix, 0, memory, match: match));
            prefix.AssertRight(memory);
        }

        await Eventually.TrueAsync("nothing is held", async () => await other.StoreCounterAsync("leasedBlocks") == used);
    }

    [Fact]
    public async Task Ranks_whose_places_are_not_told_change_nothing_of_those_that_are()
    {
        // So many blocks are asked for that places are told of four ranks; the fifth one's blocks are elsewhere.
        var group = RankGroup.AllOf(Ns with { Model = "many", TensorParallelSize = 5 });
        var chain = Prefixes.New(Ns, WireProtocol.MaxBlocksPerRequest).Chain;
        for (var rank = 0; rank < 5; rank++)
        {
            await using var writer = Silos.Connect(rank < 4 ? 0 : 1);
            var prefix = group.PrefixOf(rank, PrefixChain.FromHashes(chain.Hashes[..3], chain.TokensPerBlock));
            Assert.Equal(3, (await writer.StoreAsync(prefix, 0, prefix.Blocks())).Stored);
        }

        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(Silos[0].Tcp)!, "default", "");
        var locations = new BlockLocations?[5];
        await Eventually.TrueAsync(
            "the blocks of all ranks are found",
            () => connection.Match(group.Namespaces, chain.Hashes, TimeSpan.Zero, locations).Found == 3);

        Assert.All(locations[..4], location => Assert.True(Assert.Single(location!.Silos).IsHere));
        Assert.Null(locations[4]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_was_deleted_behind_a_match_is_not_loaded_and_what_replaced_it_is(bool storedAnew)
    {
        var prefix = Prefixes.New(Ns, 3);
        await using KvCacheClient client = Silos.Connect(0), other = Silos.Connect(1);
        await client.MustStoreAsync(prefix);
        await using var match = await client.MatchAsync(prefix, Hold);
        Assert.Equal(new DeleteResult(3, true), await other.DeleteAsync(prefix));
        if (storedAnew)
            await client.MustStoreAsync(prefix);

        var memory = prefix.Memory(3);
        var loaded = await client.LoadAsync(prefix, 0, memory, match: match);

        Assert.Equal(storedAnew ? new LoadResult(3, MissReason.None) : new LoadResult(0, MissReason.Absent), loaded);
        if (storedAnew)
            prefix.AssertRight(memory);
    }

    [Fact]
    public async Task A_match_of_another_chain_is_of_no_use_and_does_no_harm()
    {
        KvPrefix prefix = Prefixes.New(Ns, 3), another = Prefixes.New(Ns, 3);
        await using var client = Silos.Connect(0);
        await client.MustStoreAsync(prefix);
        await client.MustStoreAsync(another);
        await using var match = await client.MatchAsync(another, Hold);

        var memory = prefix.Memory(3);
        Assert.Equal(new LoadResult(3, MissReason.None), await client.LoadAsync(prefix, 0, memory, match: match));
        prefix.AssertRight(memory);
    }

    // What silo 0 has answered so far, type by type. A connection is served in order: behind a stat, what came before it has been counted.
    private async Task<double[]> RequestsAsync(KvCacheClient client)
    {
        var stats = await CountAsync("stat");
        await client.GetStatisticsAsync();
        await Eventually.TrueAsync("all requests are counted", async () => await CountAsync("stat") > stats);
        var counts = new double[Types.Length];
        for (var i = 0; i < counts.Length; i++)
            counts[i] = await CountAsync(Types[i]);
        return counts;
    }

    private async Task<double> CountAsync(string type)
    {
        var metrics = await Silos.GetAsync(0, "/metrics");
        return metrics.Contains($"type=\"{type}\"", StringComparison.Ordinal)
            ? Metrics.Value(metrics, "kvcache_request_duration_seconds_count", $"type=\"{type}\"")
            : 0;
    }
}
