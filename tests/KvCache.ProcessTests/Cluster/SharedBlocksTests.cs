using KvCache.Client;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>What one silo of a cluster stores is every silo's.</summary>
public sealed class SharedBlocksTests(SharedBlocksTests.Cluster shared) : IClassFixture<SharedBlocksTests.Cluster>, IDisposable
{
    private static readonly CacheNamespace Small = Prefixes.Namespace("shared", KvLayout.Opaque([0, 16 << 10, 64 << 10], 16));

    private SiloCluster Silos => shared.Silos;

    public void Dispose() => Silos.WriteLogs();

    [Fact]
    public async Task A_prefix_that_one_silo_stored_is_matched_and_loaded_through_every_other()
    {
        var prefix = Prefixes.New(Small, 20);
        await using var writer = Silos.Connect(0);
        await writer.MustStoreAsync(prefix);

        for (var silo = 1; silo < Silos.Count; silo++)
        {
            await using var reader = Silos.Connect(silo);
            await Eventually.TrueAsync($"silo {silo} finds the whole prefix", async () => (await reader.MatchAsync(prefix)).Blocks == 20);
            await reader.MustLoadAsync(prefix);
        }

        Silos.AssertHealthy();
    }

    [Fact]
    public async Task A_deletion_through_any_silo_is_seen_by_all()
    {
        var prefix = Prefixes.New(Small, 5);
        await using var first = Silos.Connect(0);
        await using var second = Silos.Connect(1);
        await using var third = Silos.Connect(2);
        await first.MustStoreAsync(prefix);
        await Eventually.TrueAsync("the second silo finds it", async () => (await second.MatchAsync(prefix)).Blocks == 5);
        await second.MustLoadAsync(prefix); // and has a copy now

        Assert.Equal(5, (await third.DeleteAsync(prefix)).Deleted);

        foreach (var client in (KvCacheClient[])[first, second, third])
        {
            Assert.Equal(0, (await client.LoadAsync(prefix, 0, prefix.Memory(5))).Blocks);
            await Eventually.TrueAsync("nothing is found", async () => (await client.MatchAsync(prefix)).Blocks == 0);
        }

        await first.MustStoreAsync(prefix); // a deletion is of what was, not of what will be
        await Eventually.TrueAsync("it is found again", async () => (await third.MatchAsync(prefix)).Blocks == 5);
        await third.MustLoadAsync(prefix);
    }

    [Fact]
    public async Task Blocks_end_with_their_life_on_every_silo()
    {
        var prefix = Prefixes.New(Small, 3);
        await using var writer = Silos.Connect(1);
        await using var reader = Silos.Connect(2);
        Assert.Equal(
            3, (await writer.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(TimeToLive: TimeSpan.FromSeconds(4)))).Stored);
        await Eventually.TrueAsync("the other silo finds it", async () => (await reader.MatchAsync(prefix)).Blocks == 3);
        await reader.MustLoadAsync(prefix);

        foreach (var client in (KvCacheClient[])[writer, reader])
            await Eventually.TrueAsync("it has expired", async () => (await client.MatchAsync(prefix)).Blocks == 0);
        Assert.Equal(0, (await reader.LoadAsync(prefix, 0, prefix.Memory(3))).Blocks);
    }

    [Fact]
    public async Task What_another_silo_has_is_already_stored()
    {
        var prefix = Prefixes.New(Small, 4);
        await using var first = Silos.Connect(0);
        await using var second = Silos.Connect(1);
        await first.MustStoreAsync(prefix);
        await Eventually.TrueAsync("the second silo finds it", async () => (await second.MatchAsync(prefix)).Blocks == 4);

        using var connection = Connect(1);
        var put = connection.Put(Small, prefix.Chain.Hashes, default, 0, prefix.Blocks(), 0, new StoreOptions());

        Assert.All(put.Outcomes, outcome => Assert.Equal(PutOutcome.AlreadyStored, outcome));
        Assert.Equal(0, Silos.BlocksAt(1, prefix));
    }

    [Fact]
    public async Task A_pin_through_another_silo_keeps_a_block_where_it_lies()
    {
        var prefix = Prefixes.New(Small, 2);
        await using var first = Silos.Connect(0);
        await using var second = Silos.Connect(1);
        var before = await first.StoreCounterAsync("pinnedBytes");
        await first.MustStoreAsync(prefix);
        await Eventually.TrueAsync("the second silo finds it", async () => (await second.MatchAsync(prefix)).Blocks == 2);

        Assert.Equal(2, await second.PinAsync(prefix, TimeSpan.FromMinutes(1)));

        Assert.Equal(before + (2 * (64 << 10)), await first.StoreCounterAsync("pinnedBytes"));
        Assert.Equal(2, await second.PinAsync(prefix, TimeSpan.Zero));
        Assert.Equal(before, await first.StoreCounterAsync("pinnedBytes"));
        Assert.Equal(0, await second.PinAsync(Prefixes.New(Small, 2), TimeSpan.FromMinutes(1)));
    }

    [Fact]
    public async Task As_many_silos_as_asked_for_keep_a_copy()
    {
        var prefix = Prefixes.New(Small, 12);
        await using var writer = Silos.Connect(0);

        Assert.Equal(12, (await writer.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Replicas: 2))).Stored);

        await Eventually.TrueAsync("two silos have all blocks", () => Silos.Copies(prefix) == 2 * 12);
        foreach (var silo in (int[])[1, 2])
        {
            await using var reader = Silos.Connect(silo);
            await reader.MustLoadAsync(prefix);
        }
    }

    [Fact]
    public async Task A_block_that_is_often_read_from_afar_gets_a_copy_at_its_readers()
    {
        var prefix = Prefixes.New(Small, 3);
        await using var writer = Silos.Connect(0);
        await writer.MustStoreAsync(prefix);
        using var connection = Connect(2);
        await using var router = Silos.Connect(2);
        BlockLocations? locations = null;
        await Eventually.TrueAsync(
            "the reader's silo knows it", async () => (locations = await router.LocateAsync(prefix)) is { Found: 3 });
        var best = KvRouter.Rank(locations!, 3 * Small.Layout.TokensPerBlock, Small.Layout.TokensPerBlock)[0];
        Assert.Equal((Silos[0].Tcp, 1), (best.Silo.Endpoints.Single(), best.Plan.Memory / (3 * Small.Layout.TokensPerBlock)));

        // Who only wants to know reads nothing: of what is read later, there is a copy before.
        for (var i = 0; i < 20; i++)
            await router.LocateAsync(prefix);
        var other = Prefixes.New(Small, 1);
        await writer.MustStoreAsync(other);
        await Eventually.TrueAsync("the reader's silo has a copy of the other one", () => IsCopied(other));
        Assert.Equal(0, Silos.BlocksAt(2, prefix));

        // A reader asks where blocks are, and reads them there.
        await Eventually.TrueAsync("the reader's silo has a copy", () => IsCopied(prefix));
        Assert.Equal(3, Silos.BlocksAt(0, prefix));

        bool IsCopied(KvPrefix read)
        {
            connection.Locate(Small, read.Chain.Hashes);
            return Silos.BlocksAt(2, read) == read.BlockCount;
        }
    }

    [Fact]
    public async Task Readers_are_told_which_silos_have_what()
    {
        var prefix = Prefixes.New(Small, 6);
        await using var first = Silos.Connect(0);
        await using var second = Silos.Connect(1);
        var half = await first.StoreAsync(prefix, 0, prefix.Blocks()[..3]);
        Assert.Equal(3, half.Stored);
        await Eventually.TrueAsync("the second silo finds the first half", async () => (await second.MatchAsync(prefix)).Blocks == 3);
        await second.MustStoreTheRestAsync(prefix, 3);
        using var connection = Connect(2);

        BlockLocations? locations = null;
        await Eventually.TrueAsync(
            "the third silo finds both halves", () => (locations = connection.Locate(Small, prefix.Chain.Hashes)).Found == 6);

        Assert.Equal([3, 3], locations!.Runs.Select(run => run.Blocks));
        Assert.Equal(
            [Silos[0].Tcp, Silos[1].Tcp],
            locations.Runs.Select(run => locations.Silos[System.Numerics.BitOperations.TrailingZeroCount(run.Holders)].Endpoints.Single()));
        Assert.All(locations.Silos, silo => Assert.False(silo.IsHere));
    }

    [Fact]
    public async Task A_match_over_ranks_finds_what_all_of_them_have()
    {
        var ranks = Enumerable.Range(0, 4).Select(rank => Small with { TensorParallelRank = rank, TensorParallelSize = 4 }).ToArray();
        var prefix = Prefixes.New(ranks[0], 8);
        for (var rank = 0; rank < ranks.Length; rank++)
        {
            await using var writer = Silos.Connect(rank % Silos.Count);
            var mine = new KvPrefix(ranks[rank], prefix.Chain);
            var blocks = rank == 2 ? 5 : 8;
            Assert.Equal(blocks, (await writer.StoreAsync(mine, 0, mine.Blocks()[..blocks])).Stored);
        }

        foreach (var silo in Silos.Living)
        {
            using var connection = Connect(silo);
            await Eventually.TrueAsync(
                $"silo {silo} finds what all ranks have", () => connection.Match(ranks, prefix.Chain.Hashes, TimeSpan.Zero).Found == 5);
        }
    }

    private BlockConnection Connect(int silo) => BlockConnection.Connect(SiloEndpoint.TryParse(Silos[silo].Tcp)!, "default", "");

    /// <summary>Three silos without a Redis.</summary>
    public sealed class Cluster : IAsyncLifetime
    {
        internal SiloCluster Silos { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Silos = await SiloCluster.StartAsync(3);

        public ValueTask DisposeAsync() => Silos.DisposeAsync();
    }
}
