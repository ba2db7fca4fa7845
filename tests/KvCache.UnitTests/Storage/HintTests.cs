using KvCache.Engine.Storage;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What a client asks for its blocks acts among its own, for a time, and never like a pin.</summary>
public sealed class HintTests : IDisposable
{
    private const int Pages = 16;
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    private readonly StoreFixture _fixture = new(Pages, new BlockStoreOptions { MaxRetention = 5 * Minute });

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void Retained_blocks_outlive_all_that_come_after_them()
    {
        Fill(0, 4);
        Tell(0, 4, new CacheHint { Retention = 5 * Minute });
        Fill(4, 100);
        Assert.Equal([0, 1, 2, 3], _fixture.Visible(4));
    }

    [Fact]
    public void Without_a_hint_they_do_not()
    {
        Fill(0, 100);
        Assert.Empty(_fixture.Visible(4));
    }

    [Fact]
    public void A_retention_keeps_nobody_from_storing_when_nothing_else_is_left()
    {
        Fill(0, Pages);
        Tell(0, Pages, new CacheHint { Retention = 5 * Minute });
        Fill(Pages, Pages + 3);
        // One of the retained ones, and from then on what is not retained.
        Assert.Contains(Pages + 2, _fixture.Visible(Pages + 3));
        Assert.Equal(Pages - 1, _fixture.Visible(Pages).Length);
    }

    [Fact]
    public void A_retention_ends_and_begins_anew_with_every_use()
    {
        Fill(0, 4);
        Tell(0, 4, new CacheHint { Retention = 5 * Minute });
        _fixture.Time.Advance(4 * Minute);
        _fixture.Use(0);
        _fixture.Time.Advance(4 * Minute);
        Fill(4, 100);
        Assert.Equal([0], _fixture.Visible(4));
        _fixture.Time.Advance(6 * Minute);
        Fill(100, 200);
        Assert.Empty(_fixture.Visible(4));
    }

    [Fact]
    public void A_retention_that_is_over_does_not_begin_anew()
    {
        Fill(0, 1);
        Tell(0, 1, new CacheHint { Retention = 5 * Minute });
        _fixture.Time.Advance(6 * Minute);
        _fixture.Use(0);
        _fixture.Time.Advance(Minute);
        Fill(1, 100);
        Assert.Empty(_fixture.Visible(1));
    }

    [Fact]
    public void No_retention_is_longer_than_the_silo_grants()
    {
        Fill(0, 1);
        Tell(0, 1, new CacheHint { Retention = TimeSpan.FromDays(365) });
        _fixture.Time.Advance(4 * Minute);
        Fill(1, 100);
        Assert.Equal([0], _fixture.Visible(1));
        _fixture.Time.Advance(30 * Minute);
        Fill(100, 200);
        Assert.Empty(_fixture.Visible(1));
    }

    [Fact]
    public void A_silo_may_grant_none()
    {
        using var strict = new StoreFixture(Pages, new BlockStoreOptions { MaxRetention = TimeSpan.Zero });
        strict.Put(0);
        strict.Store.Tell(StoreFixture.Key(0).Namespace, [StoreFixture.Key(0).Hash], new CacheHint { Retention = Minute });
        for (var key = 1; key < 100; key++)
            strict.Put(key);
        Assert.Empty(strict.Visible(1));
    }

    [Fact]
    public void Of_blocks_that_are_alike_those_of_lower_priority_go_first()
    {
        Fill(0, Pages);
        Tell(0, 4, new CacheHint { Priority = 90 });
        Tell(8, Pages, new CacheHint { Priority = 10 });
        Fill(Pages, Pages + 8);
        Assert.Equal(Enumerable.Range(0, 8), _fixture.Visible(Pages));
        _fixture.Time.Advance(Minute);
        Tell(Pages, Pages + 8, new CacheHint { Priority = 10 });
        Fill(Pages + 8, Pages + 20);
        Assert.Equal([0, 1, 2, 3], _fixture.Visible(4));
    }

    [Fact]
    public void What_a_put_says_holds_for_its_blocks()
    {
        var first = StoreFixture.Key(0);
        var request = _fixture.Store.BeginRequest(
            first.Namespace, default, [first.Hash], new RequestFacts(1, Hint: new CacheHint { Retention = 5 * Minute }));
        using (var write = _fixture.Store.TryReserve(first, StoreFixture.Layout(1), default, request, out _))
            _fixture.Store.Publish(first, write!.Generation);
        Fill(1, 100);
        Assert.Equal([0], _fixture.Visible(1));
    }

    [Fact]
    public void A_hint_about_a_chain_of_which_only_the_front_is_here_holds_for_the_front()
    {
        _fixture.Put(0);
        var chain = Enumerable.Range(0, 5).Select(key => StoreFixture.Key(key).Hash).ToArray();
        Assert.True(_fixture.Store.Tell(StoreFixture.Key(0).Namespace, chain, new CacheHint { Retention = 5 * Minute }));
        Assert.False(_fixture.Store.Tell(StoreFixture.Key(0).Namespace, chain.AsSpan(1), new CacheHint { Retention = 5 * Minute }));
        Fill(10, 100);
        Assert.Equal([0], _fixture.Visible(1));
    }

    [Fact]
    public void Who_is_over_its_share_gives_first_whatever_it_asks_for()
    {
        var accounts = new TenantAccounts(new TenantLimits { Share = 0 }, _fixture.Time);
        accounts.Set("acme", new TenantLimits { Share = 8 * Arena.PageBytes });
        accounts.Set("liar", new TenantLimits { Share = 0 });
        using var store = new BlockStore(Memory.Arena(Pages), time: _fixture.Time, accounts: accounts);
        for (var number = 0; number < Pages; number++)
            Store("liar", number);
        for (var number = 0; number < 8; number++)
            Store("acme", number);
        Assert.Equal((8, 8), (Visible("acme"), Visible("liar")));
        for (var number = Pages; number < 100; number++)
            Store("liar", number);
        Assert.Equal((8, 8), (Visible("acme"), Visible("liar")));

        void Store(string tenant, int number)
        {
            var key = Key(tenant, number);
            using (var write = store.TryReserve(key, StoreFixture.Layout(1), default))
                store.Publish(key, write!.Generation);
            if (tenant == "liar")
                store.Tell(key.Namespace, [key.Hash], new CacheHint { Priority = 100, Retention = TimeSpan.FromDays(7) });
        }

        int Visible(string tenant) => Enumerable.Range(0, 100).Count(number => store.Contains(Key(tenant, number)));

        static BlockKey Key(string tenant, int number) => new(new NamespaceId(TenantId.Of(tenant), 1), StoreFixture.Key(number).Hash);
    }

    private void Fill(int first, int end)
    {
        for (var key = first; key < end; key++)
            Assert.True(_fixture.Put(key));
    }

    private void Tell(int first, int end, CacheHint hint)
    {
        for (var key = first; key < end; key++)
            Assert.True(_fixture.Store.Tell(StoreFixture.Key(key).Namespace, [StoreFixture.Key(key).Hash], hint));
    }
}
