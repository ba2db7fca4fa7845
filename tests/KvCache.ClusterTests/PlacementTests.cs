using KvCache.ClusterTests.Infrastructure;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ClusterTests;

/// <summary>On which silo of several a prefix grain is activated, and when none is.</summary>
public sealed class PlacementTests(ThreeSilos silos) : IClassFixture<ThreeSilos>
{
    [Fact]
    public async Task A_new_prefix_goes_beside_its_writer_and_back_to_its_block_after_an_idle_deactivation()
    {
        for (var writer = 0; writer < ThreeSilos.Count; writer++)
        {
            var prefix = Blocks.Prefix(Blocks.Small, 4);
            var keys = Enumerable.Range(0, 4).Select(block => prefix.Key(block).ToGrainKey()).ToArray();
            await using var client = silos.Connect(writer);
            Assert.Equal(4, (await client.StoreAsync(prefix, 0, Bytes(prefix))).Stored);

            var grains = await silos.PrefixGrainsAsync();
            Assert.All(keys, key => Assert.Equal(silos.AddressOf(writer), grains[key]));

            var other = (writer + 1) % ThreeSilos.Count;
            await FindsAsync(other, prefix);
            await silos.DeactivatePrefixesAsync();
            foreach (var block in Enumerable.Range(0, 4))
                Assert.NotNull(await silos.GrainsAt(other).GetPrefix(prefix.Key(block)).DescribeAsync());

            grains = await silos.PrefixGrainsAsync();
            Assert.All(keys, key => Assert.Equal(silos.AddressOf(writer), grains[key]));
        }
    }

    [Fact]
    public async Task Matches_and_loads_activate_no_grain()
    {
        var prefix = Blocks.Prefix(Blocks.Small, 64);
        await using var writer = silos.Connect(0);
        Assert.Equal(64, (await writer.StoreAsync(prefix, 0, Bytes(prefix))).Stored);
        await FindsAsync(1, prefix);
        await FindsAsync(2, prefix);
        await silos.DeactivatePrefixesAsync();

        for (var silo = 0; silo < ThreeSilos.Count; silo++)
        {
            await using var reader = silos.Connect(silo);
            Assert.Equal(64, (await reader.MatchAsync(prefix)).Blocks);
            Assert.Equal(0, (await reader.MatchAsync(Blocks.Prefix(Blocks.Small, 64))).Blocks);
            Assert.Equal(
                64, (await reader.LoadAsync(
                prefix, 0, [.. Enumerable.Range(0, 64).Select(_ => (Memory<byte>)new byte[Blocks.Small.Layout.BlockBytes])])).Blocks);
        }

        Assert.Empty(await silos.PrefixGrainsAsync());
    }

    [Fact]
    public async Task A_new_prefix_goes_elsewhere_when_its_writers_silo_is_full_of_pinned_blocks()
    {
        const int Full = 2;
        var filling = Blocks.Prefix(Blocks.Large, ThreeSilos.ArenaMiB);
        await using var client = silos.Connect(Full);
        await client.StoreAsync(filling, 0, Bytes(filling));
        try
        {
            Assert.InRange(await client.PinAsync(filling, TimeSpan.FromMinutes(5)), ThreeSilos.ArenaMiB * 7 / 8, ThreeSilos.ArenaMiB);
            Assert.InRange(silos.StoreAt(Full).AvailableBytes, 0, (ThreeSilos.ArenaMiB << 20) / 8);
            var key = Blocks.Prefix(Blocks.Small, 1).Key(0);

            var grant = await silos.GrainsAt(Full).GetPrefix(key).BeginAsync(Blocks.Intent(Blocks.Small));

            Assert.Equal(BeginOutcome.Accepted, grant.Outcome);
            Assert.NotEqual(silos.AddressOf(Full), (await silos.PrefixGrainsAsync())[key.ToGrainKey()]);
        }
        finally
        {
            await client.DeleteAsync(filling);
        }
    }

    [Fact]
    public async Task Of_writers_on_all_silos_exactly_one_is_accepted_and_the_others_are_told()
    {
        for (var round = 0; round < 10; round++)
        {
            var key = Blocks.Prefix(Blocks.Small, 1).Key(0);

            var grants = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => Task.Run(() =>
                silos.GrainsAt(i % ThreeSilos.Count).GetPrefix(key).BeginAsync(Blocks.Intent(Blocks.Small)).AsTask())));

            Assert.Single(grants, grant => grant.Outcome == BeginOutcome.Accepted);
            Assert.Equal(11, grants.Count(grant => grant.Outcome == BeginOutcome.BeingWritten));
        }
    }

    [Fact]
    public async Task Whole_prefixes_that_all_silos_store_at_once_are_stored_once()
    {
        var prefix = Blocks.Prefix(Blocks.Small, 16);
        var bytes = Bytes(prefix);
        var clients = Enumerable.Range(0, ThreeSilos.Count).Select(silos.Connect).ToArray();

        var results = await Task.WhenAll(clients.Select(client => Task.Run(() => client.StoreAsync(prefix, 0, bytes).AsTask())));

        Assert.Equal(16, results.Sum(result => result.Stored));
        Assert.All(results, result => Assert.True(result.FirstRefusal is null or PutOutcome.BeingWritten, $"{result}"));
        for (var silo = 0; silo < ThreeSilos.Count; silo++)
        {
            await FindsAsync(silo, prefix);
            await clients[silo].DisposeAsync();
        }
    }

    [Fact]
    public async Task A_write_that_runs_on_one_silo_does_not_survive_a_deletion_through_another()
    {
        var prefix = Blocks.Prefix(Blocks.Small, 1);
        await using var deleting = silos.Connect(1);
        var grain = silos.GrainsAt(0).GetPrefix(prefix.Key(0));
        var grant = await grain.BeginAsync(Blocks.Intent(Blocks.Small));
        Assert.Equal(BeginOutcome.Accepted, grant.Outcome);
        Assert.True(await grain.WriteAsync(
            grant.Generation, 0, new global::Orleans.Concurrency.Immutable<byte[]>(Blocks.Bytes(Blocks.Small))));

        Assert.Equal(0, (await deleting.DeleteAsync(prefix)).Deleted);

        Assert.Equal(SealOutcome.Revoked, await grain.SealAsync(grant.Generation));
        for (var silo = 0; silo < ThreeSilos.Count; silo++)
            Assert.False(silos.StoreAt(silo).Contains(prefix.Key(0)));
        await using var writer = silos.Connect(0);
        Assert.Equal(1, (await writer.StoreAsync(prefix, 0, Bytes(prefix))).Stored);
    }

    private static ReadOnlyMemory<byte>[] Bytes(KvPrefix prefix)
    {
        var block = Blocks.Bytes(prefix.Namespace);
        return [.. Enumerable.Repeat((ReadOnlyMemory<byte>)block, prefix.BlockCount)];
    }

    private async Task FindsAsync(int silo, KvPrefix prefix)
    {
        await using var reader = silos.Connect(silo);
        await Eventually.TrueAsync("the silo finds the prefix", async () => (await reader.MatchAsync(prefix)).Blocks == prefix.BlockCount);
    }
}
