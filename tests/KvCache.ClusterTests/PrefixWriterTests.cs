using KvCache.ClusterTests.Infrastructure;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.TorchSharp;
using Orleans.Concurrency;

namespace KvCache.ClusterTests;

public sealed class PrefixWriterTests(OneSilo silo) : IClassFixture<OneSilo>
{
    private static readonly WriteIntent Intent = Blocks.Intent(Blocks.Small);

    [Fact]
    public async Task Of_many_writers_that_begin_at_once_exactly_one_is_accepted_and_the_others_are_told()
    {
        var prefix = silo.NewPrefix(Blocks.Small);

        var grants = await Task.WhenAll(Enumerable.Range(0, 32).Select(_ => Task.Run(() => prefix.BeginAsync(Intent).AsTask())));

        var accepted = Assert.Single(grants, grant => grant.Outcome == BeginOutcome.Accepted);
        Assert.Equal(31, grants.Count(grant => grant == new WriteGrant(BeginOutcome.BeingWritten, 0)));
        await WriteAsync(prefix, accepted.Generation, Blocks.Bytes(Blocks.Small));
        Assert.Equal(SealOutcome.Sealed, await prefix.SealAsync(accepted.Generation));
        Assert.Equal(new WriteGrant(BeginOutcome.AlreadyStored, 0), await prefix.BeginAsync(Intent));
    }

    [Fact]
    public async Task Many_whole_stores_of_one_block_leave_one_generation_and_no_memory_behind()
    {
        var used = silo.Store.Arena.UsedBytes;
        var prefix = silo.NewPrefix(Blocks.Small);
        var bytes = Blocks.Bytes(Blocks.Small);

        var stored = await Task.WhenAll(
            Enumerable.Range(0, 16).Select(_ => Task.Run(() => prefix.StoreAsync(Blocks.Small, bytes).AsTask())));

        Assert.Contains(true, stored);
        Assert.Equal(bytes, await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
        Assert.Equal(used + Arena.RoundUp(bytes.Length), silo.Store.Arena.UsedBytes);
    }

    [Fact]
    public async Task A_block_that_is_not_complete_is_never_visible()
    {
        var used = silo.Store.Arena.UsedBytes;
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        Assert.Null(await prefix.DescribeAsync());
        await prefix.WriteAsync(grant.Generation, 0, new Immutable<byte[]>(new byte[Blocks.Small.Layout.BlockBytes - 1]));

        Assert.Equal(SealOutcome.Incomplete, await prefix.SealAsync(grant.Generation));

        Assert.Null(await prefix.DescribeAsync());
        Assert.Null(await prefix.ReadLayersAsync(0, 1));
        Assert.Equal(used, silo.Store.Arena.UsedBytes);
        Assert.Equal(BeginOutcome.Accepted, (await prefix.BeginAsync(Intent)).Outcome);
    }

    [Fact]
    public async Task A_piece_that_would_leave_a_gap_is_refused_with_a_sentence()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);

        var error = await Assert.ThrowsAsync<ArgumentException>(
            async () => await prefix.WriteAsync(grant.Generation, 1024, new Immutable<byte[]>(new byte[16])));

        Assert.Contains("in order", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_piece_may_be_sent_twice()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var bytes = Blocks.Bytes(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        var half = new Immutable<byte[]>(bytes[..(bytes.Length / 2)]);

        Assert.True(await prefix.WriteAsync(grant.Generation, 0, half));
        Assert.True(await prefix.WriteAsync(grant.Generation, 0, half));
        Assert.True(await prefix.WriteAsync(grant.Generation, bytes.Length / 2, new Immutable<byte[]>(bytes[(bytes.Length / 2)..])));

        Assert.Equal(SealOutcome.Sealed, await prefix.SealAsync(grant.Generation));
        Assert.Equal(bytes, await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
    }

    [Fact]
    public async Task A_delete_while_a_write_is_running_revokes_it_for_good()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        await WriteAsync(prefix, grant.Generation, Blocks.Bytes(Blocks.Small));

        Assert.False(await prefix.DeleteAsync());

        Assert.False(await prefix.WriteAsync(grant.Generation, 0, new Immutable<byte[]>([1])));
        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(grant.Generation));
        Assert.Null(await prefix.DescribeAsync());
    }

    [Fact]
    public async Task A_write_over_its_limit_is_revoked_and_another_may_begin()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var slow = await prefix.BeginAsync(Intent);
        await WriteAsync(prefix, slow.Generation, Blocks.Bytes(Blocks.Small));

        silo.Clock.Advance(new PrefixGrainOptions().WriteLimit);

        var bytes = Blocks.Bytes(Blocks.Small);
        var quick = await prefix.BeginAsync(Intent);
        Assert.Equal(BeginOutcome.Accepted, quick.Outcome);
        Assert.False(await prefix.WriteAsync(slow.Generation, 0, new Immutable<byte[]>([1])));
        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(slow.Generation));
        await WriteAsync(prefix, quick.Generation, bytes);
        Assert.Equal(SealOutcome.Sealed, await prefix.SealAsync(quick.Generation));
        Assert.Equal(bytes, await prefix.LoadAsync(Blocks.Small.Layout.AllLayers));
    }

    [Fact]
    public async Task A_seal_behind_the_limit_is_revoked_even_when_nobody_else_came()
    {
        var used = silo.Store.Arena.UsedBytes;
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        await WriteAsync(prefix, grant.Generation, Blocks.Bytes(Blocks.Small));

        silo.Clock.Advance(new PrefixGrainOptions().WriteLimit);

        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(grant.Generation));
        Assert.Null(await prefix.DescribeAsync());
        Assert.Equal(used, silo.Store.Arena.UsedBytes);
    }

    [Fact]
    public async Task An_abandoned_write_makes_room_for_the_next_writer_at_once()
    {
        var used = silo.Store.Arena.UsedBytes;
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);

        await prefix.AbandonAsync(grant.Generation);

        Assert.Equal(used, silo.Store.Arena.UsedBytes);
        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(grant.Generation));
        Assert.Equal(BeginOutcome.Accepted, (await prefix.BeginAsync(Intent)).Outcome);
    }

    [Fact]
    public async Task The_grain_of_another_prefix_cannot_end_a_write()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        await WriteAsync(prefix, grant.Generation, Blocks.Bytes(Blocks.Small));

        var other = silo.NewPrefix(Blocks.Small);
        await other.BeginAsync(new WriteIntent { Generation = grant.Generation });
        await other.AbandonAsync(grant.Generation);
        await other.BeginAsync(new WriteIntent { Generation = grant.Generation });
        await other.DeleteAsync();

        Assert.Equal(SealOutcome.Sealed, await prefix.SealAsync(grant.Generation));
    }

    [Fact]
    public async Task Nobody_seals_or_abandons_the_write_of_another_with_a_wrong_generation()
    {
        var prefix = silo.NewPrefix(Blocks.Small);
        var grant = await prefix.BeginAsync(Intent);
        await WriteAsync(prefix, grant.Generation, Blocks.Bytes(Blocks.Small));

        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(grant.Generation + 1));
        Assert.Equal(SealOutcome.Revoked, await prefix.SealAsync(0));
        await prefix.AbandonAsync(grant.Generation + 1);
        Assert.False(await prefix.WriteAsync(grant.Generation + 1, 0, new Immutable<byte[]>([1])));

        Assert.Null(await prefix.DescribeAsync());
        Assert.Equal(BeginOutcome.BeingWritten, (await prefix.BeginAsync(Intent)).Outcome);
        Assert.Equal(SealOutcome.Sealed, await prefix.SealAsync(grant.Generation));
    }

    [Fact]
    public async Task A_write_of_one_prefix_cannot_be_sealed_by_the_grain_of_another()
    {
        var mine = silo.NewPrefix(Blocks.Small);
        var others = silo.NewPrefix(Blocks.Small);
        var grant = await mine.BeginAsync(Intent);
        await WriteAsync(mine, grant.Generation, Blocks.Bytes(Blocks.Small));

        await others.BeginAsync(new WriteIntent { Generation = grant.Generation });

        Assert.Equal(SealOutcome.Revoked, await others.SealAsync(grant.Generation));
        Assert.Null(await others.DescribeAsync());
        Assert.Equal(SealOutcome.Sealed, await mine.SealAsync(grant.Generation));
    }

    private static async Task WriteAsync(IPrefixGrain prefix, ulong generation, byte[] bytes) =>
        Assert.True(await prefix.WriteAsync(generation, 0, new Immutable<byte[]>(bytes)));
}
