namespace KvCache.Testing;

/// <content>A life means the same in every cache: what it may be, when it ends, who changes it.</content>
public abstract partial class CacheContract
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan Few = TimeSpan.FromSeconds(3); // so that a block is still there when its life is changed
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);

    [Fact]
    public async Task The_latest_store_says_how_long_blocks_live()
    {
        KvPrefix longer = New(3), shorter = New(3), kept = New(3), unsaid = New(3), before = New(1);
        await StoreAsync(before, Few);
        await StoreAsync(longer, Few);
        await StoreAsync(longer, Long);
        await StoreAsync(kept, Long);
        await StoreAsync(kept, Short, refresh: false);
        await StoreAsync(unsaid, Long);
        await StoreAsync(unsaid);
        await StoreAsync(shorter);
        await StoreAsync(shorter, Short);

        await GoneAsync(shorter);
        await GoneAsync(before);
        await AssertFoundAsync([3, 3, 3], longer, kept, unsaid);
    }

    [Fact]
    public async Task Lives_are_set_without_a_store()
    {
        KvPrefix endless = New(3), ended = New(3), before = New(1);
        await StoreAsync(before, Few);
        await StoreAsync(endless, Few);
        Assert.Equal(3, await _cache.ExpireAsync(endless, null, Token));
        await StoreAsync(ended);
        Assert.Equal(3, await _cache.ExpireAsync(ended, Short, Token));

        await GoneAsync(ended);
        await GoneAsync(before);
        await AssertFoundAsync([3], endless);
        Assert.Equal(0, await _cache.ExpireAsync(ended, Long, Token));
    }

    [Fact]
    public async Task The_shortest_life_and_the_longest_are_lives()
    {
        KvPrefix shortest = New(2), shortened = New(2), longest = New(2), lengthened = New(2);
        foreach (var (stored, set, life) in new[]
        {
            (shortest, shortened, TimeSpan.FromTicks(1)), (longest, lengthened, TimeSpan.MaxValue),
        })
        {
            await StoreAsync(stored, life);
            await StoreAsync(set, Long);
            Assert.Equal(2, await _cache.ExpireAsync(set, life, Token));
        }

        await GoneAsync(shortest);
        await GoneAsync(shortened);
        await AssertFoundAsync([2, 2], longest, lengthened);
    }

    [Fact]
    public async Task What_is_deleted_is_gone_and_can_be_stored_again()
    {
        KvPrefix prefix = New(3), stays = New(2);
        await StoreAsync(prefix);
        await StoreAsync(stays);
        Assert.Equal(new DeleteResult(3, IsConfirmed: true), await _cache.DeleteAsync(prefix, Token));
        await AssertFoundAsync([0, 2], prefix, stays);
        Assert.Equal(
            new LoadResult(0, MissReason.Absent),
            await _cache.LoadAsync(prefix, 0, Memory(3, Layout.BlockBytes), cancellationToken: Token));
        Assert.Equal(new DeleteResult(0, IsConfirmed: true), await _cache.DeleteAsync(prefix, Token));
        await StoreAsync(prefix);
        await AssertLoadsAsync(prefix);
    }

    [Fact]
    public async Task A_namespace_is_cleared_and_no_other()
    {
        KvPrefix first = New(40), second = New(3), stays = New(3, _ns with { Salt = "another" });
        foreach (var prefix in new[] { first, second, stays })
            await StoreAsync(prefix);

        Assert.Equal(new DeleteResult(43, IsConfirmed: true), await _cache.ClearAsync(_ns, Token));

        await AssertFoundAsync([0, 0, 3], first, second, stays);
        Assert.Equal(new DeleteResult(0, IsConfirmed: true), await _cache.ClearAsync(_ns, Token));
        await StoreAsync(first);
        await AssertFoundAsync([40], first);
    }

    private async Task GoneAsync(KvPrefix prefix) => await Eventually.TrueAsync(
        "the blocks' life is over", async () => (await _cache.MatchAsync(prefix, default, Token)).Blocks == 0);
}
