using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>One client, several silos: it reads blocks where they lie.</summary>
public sealed class ClientClusterTests(ClientClusterTests.Cluster shared) : IClassFixture<ClientClusterTests.Cluster>, IDisposable
{
    private const int BlockBytes = 64 << 10;

    private static readonly TimeSpan Hold = TimeSpan.FromSeconds(20);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("client", KvLayout.Opaque([0, 16 << 10, BlockBytes], 16));

    private SiloCluster Silos => shared.Silos;

    public void Dispose() => Silos.WriteLogs();

    [Theory]
    [InlineData(64)]
    [InlineData(0)]
    public async Task Blocks_on_three_silos_are_loaded_in_one_call_from_where_they_lie(int maxSilos)
    {
        var prefix = Prefixes.New(Ns, 30);
        for (var silo = 0; silo < 3; silo++)
            await StoreAtAsync(silo, prefix, 10 * silo, 10);
        await using var reader = Silos.Connect(0, options => options.MaxSilos = maxSilos);
        await Eventually.TrueAsync("the whole prefix is found", async () => (await reader.MatchAsync(prefix)).Blocks == 30);

        for (var round = 1; round <= 2; round++)
        {
            await reader.MustLoadAsync(prefix);

            var statistics = await reader.GetStatisticsAsync();
            Assert.Equal((30 * round, 0), (statistics.Hits, statistics.Misses[MissReason.Unavailable]));
            Assert.Equal(30 * round, statistics.Silos.Sum(silo => silo.LoadedBlocks));
            if (maxSilos == 0)
                Assert.Equal(Silos[0].Tcp, Assert.Single(statistics.Silos).Endpoint); // all of it comes through the home silo
            else
                Assert.All(Silos.Living,
                    silo => Assert.Equal(10 * round, statistics.Silos.Single(use => use.Endpoint == Silos[silo].Tcp).LoadedBlocks));
        }

        var range = new LayerRange(1, 1);
        Memory<byte>[] layers = [.. Enumerable.Range(0, 12).Select(_ => (Memory<byte>)new byte[Ns.Layout.RangeBytes(range)])];
        Assert.Equal(new LoadResult(12, MissReason.None), await reader.LoadAsync(prefix, 5, layers, range));
        for (var block = 0; block < layers.Length; block++)
            Assert.True(Content.IsRight(layers[block].Span, prefix.Key(5 + block), 16 << 10), $"Block {5 + block} has wrong bytes.");
        Silos.AssertHealthy();
    }

    [Fact]
    public async Task A_load_of_more_than_is_stored_ends_where_the_chain_ends()
    {
        var prefix = Prefixes.New(Ns, 8);
        await StoreAtAsync(1, prefix, 0, 3);
        await StoreAtAsync(2, prefix, 3, 3);
        await using var reader = Silos.Connect(0);
        await Eventually.TrueAsync("six blocks are found", async () => (await reader.MatchAsync(prefix)).Blocks == 6);
        var memory = prefix.Memory(8);

        Assert.Equal(new LoadResult(6, MissReason.Absent), await reader.LoadAsync(prefix, 0, memory));

        for (var block = 0; block < 6; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
    }

    [Fact]
    public async Task A_match_over_ranks_on_several_silos_is_the_weakest_rank_and_holds_the_blocks_of_all()
    {
        var group = RankGroup.AllOf(Ns with { Model = "ranks", TensorParallelSize = 3 });
        var chain = Prefixes.New(Ns, 8).Chain;
        int[] stored = [8, 5, 6];
        for (var rank = 0; rank < group.Count; rank++)
            await StoreAtAsync(rank, group.PrefixOf(rank, chain), 0, stored[rank]);
        await using var reader = Silos.Connect(0);
        await Eventually.TrueAsync("what all ranks have is found", async () => (await reader.MatchAsync(group, chain)).Blocks == 5);

        var match = await reader.MatchAsync(group, chain, Hold);
        Assert.Equal((5, 5 * 16, MissReason.Absent, true), (match.Blocks, match.Tokens, match.Reason, match.Held));
        for (var rank = 0; rank < group.Count; rank++)
            await reader.MustLoadAsync(group.PrefixOf(rank, PrefixChain.FromHashes(chain.Hashes[..5], chain.TokensPerBlock)));

        // Deleted memory is kept while it is held: every silo shows that it holds its rank's blocks, until the match ends.
        var clients = Enumerable.Range(0, 3).Select(silo => Silos.Connect(silo)).ToArray();
        var before = await UsedAsync();
        for (var rank = 0; rank < group.Count; rank++)
            Assert.Equal(stored[rank], (await reader.DeleteAsync(group.PrefixOf(rank, chain))).Deleted);
        Assert.Equal(before.Select((used, silo) => used - ((stored[silo] - 5) * BlockBytes)), await UsedAsync());
        await match.DisposeAsync();
        Assert.Equal(before.Select((used, silo) => used - (stored[silo] * BlockBytes)), await UsedAsync());
        foreach (var client in clients)
            await client.DisposeAsync();

        async Task<long[]> UsedAsync() => [.. await Task.WhenAll(clients.Select(client => client.StoreCounterAsync("arenaUsedBytes")))];
    }

    [Fact]
    public async Task Many_loads_at_once_get_the_right_bytes()
    {
        var prefixes = Enumerable.Range(0, 6).Select(_ => Prefixes.New(Ns, 12)).ToArray();
        foreach (var prefix in prefixes)
        {
            for (var silo = 0; silo < 3; silo++)
                await StoreAtAsync(silo, prefix, 4 * silo, 4);
        }

        await using var reader = Silos.Connect(1);
        foreach (var prefix in prefixes)
            await Eventually.TrueAsync("the whole prefix is found", async () => (await reader.MatchAsync(prefix)).Blocks == 12);

        await Task.WhenAll(prefixes.SelectMany(prefix => Enumerable.Repeat(prefix, 4)).Select(async prefix =>
        {
            for (var round = 0; round < 10; round++)
                await reader.MustLoadAsync(prefix);
        }));
        Silos.AssertHealthy();
    }

    // Stores a part of a prefix through a silo that has not heard of it before its first block is due.
    private async Task StoreAtAsync(int silo, KvPrefix prefix, int first, int count)
    {
        await using var client = Silos.Connect(silo);
        Assert.Equal(
            new StoreResult(count, 0, 0, MissReason.None, null),
            await client.StoreAsync(prefix, first, prefix.Blocks()[first..(first + count)]));
        Assert.Equal(first == 0 ? count : 0, Silos.BlocksAt(silo, prefix));
    }

    /// <summary>Three silos without a Redis that make no copies by themselves.</summary>
    public sealed class Cluster : IAsyncLifetime
    {
        internal SiloCluster Silos { get; private set; } = null!;

        public async ValueTask InitializeAsync() =>
            Silos = await SiloCluster.StartAsync(
                3, settings: new SiloSettings(Settings: new Dictionary<string, string> { ["KvCache:Cluster:CopyAfterReads"] = "0" }));

        public ValueTask DisposeAsync() => Silos.DisposeAsync();
    }
}
