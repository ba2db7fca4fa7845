using KvCache.Engine.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class TenantAccountTests : IDisposable
{
    private const int Pages = 16;
    private const int Share = 8;

    private readonly ManualTime _time = new();
    private readonly TenantAccounts _accounts;
    private readonly BlockStore _store;

    public TenantAccountTests()
    {
        _accounts = new TenantAccounts(new TenantLimits { Share = 0 }, _time);
        _accounts.Set("acme", new TenantLimits { Share = Share * Arena.PageBytes, Locked = 12 * Arena.PageBytes });
        _accounts.Set("evil", new TenantLimits
        {
            Share = 0,
            Locked = 4 * Arena.PageBytes,
            Writing = 3 * Arena.PageBytes,
            Held = 2 * Arena.PageBytes,
            Pinned = 2 * Arena.PageBytes,
        });
        _store = new BlockStore(Memory.Arena(Pages), accounts: _accounts);
    }

    private TenantAccount Evil => _accounts.Of(Key("evil", 0).Namespace);

    public void Dispose() => _store.Dispose();

    [Fact]
    public void A_share_is_kept_and_what_is_above_it_is_not()
    {
        Fill("acme", 0, 10);
        Fill("evil", 0, 100);
        Assert.Equal(Share, Visible("acme", 10));
        Assert.Equal(Pages - Share, Visible("evil", 100));
    }

    [Fact]
    public void An_idle_share_is_lent_and_comes_back()
    {
        Fill("evil", 0, 100);
        Assert.Equal(Pages, Visible("evil", 100));
        Fill("acme", 0, Share);
        Assert.Equal(Share, Visible("acme", Share));
        Fill("evil", 100, 200);
        Assert.Equal(Share, Visible("acme", Share));
    }

    [Fact]
    public void Whoever_is_over_its_share_is_evicted_before_the_older_blocks_of_who_is_not()
    {
        Fill("acme", 0, 4);
        Fill("evil", 0, 12);
        Fill("acme", 4, Share);
        Assert.Equal(Share, Visible("acme", Share));
    }

    [Fact]
    public void A_block_that_needs_a_run_of_memory_takes_it_only_from_above_shares()
    {
        // Acme's blocks lie between evil's: no run of four pages is there without one of them.
        for (var i = 0; i < Share; i++)
        {
            Fill("evil", i, i + 1);
            Fill("acme", i, i + 1);
        }

        Assert.Null(Reserve("evil", 1000, pages: 4));
        Assert.Equal(Share, Visible("acme", Share));
        Assert.Equal(Share, Visible("evil", Share));
    }

    [Fact]
    public void Writes_are_bounded_but_for_one_large_block()
    {
        var writes = Enumerable.Range(0, 5).Select(i => Reserve("evil", i)).ToList();
        Assert.Equal(3, writes.Count(write => write is not null));
        Assert.NotNull(Reserve("acme", 0));
        writes.ForEach(write => write?.Dispose());
        using var large = Reserve("evil", 10, pages: 6);
        Assert.NotNull(large);
        Assert.Null(Reserve("evil", 11));
    }

    [Fact]
    public void What_cannot_be_evicted_is_bounded_over_leases_pins_and_writes()
    {
        Fill("evil", 0, Pages);
        Assert.True(_store.Pin(Key("evil", 0), TimeSpan.FromHours(1)));
        Assert.True(_store.Pin(Key("evil", 1), TimeSpan.FromHours(1)));
        Assert.False(_store.Pin(Key("evil", 2), TimeSpan.FromHours(1)));
        var leases = Enumerable.Range(2, 4).Select(i => _store.TryLease(Key("evil", i))).ToList();
        Assert.Equal(2, leases.Count(lease => lease is not null));
        Assert.NotNull(_store.TryLease(Key("evil", 0))); // out of reach already
        Assert.Null(Reserve("evil", 100));
        leases.ForEach(lease => lease?.Dispose());
        Assert.NotNull(Reserve("evil", 100));
    }

    [Fact]
    public void A_cap_is_never_passed()
    {
        Evil.Limits = Evil.Limits with { Cap = 5 * Arena.PageBytes };
        Fill("evil", 0, 100);
        Assert.Equal([95, 96, 97, 98, 99], Enumerable.Range(0, 100).Where(i => _store.Contains(Key("evil", i))));
        Assert.Null(Reserve("evil", 100, pages: 6));
    }

    [Fact]
    public void Holds_are_charged_once_and_given_back()
    {
        Assert.True(Evil.TryHold(2 * Arena.PageBytes));
        Assert.False(Evil.TryHold(1));
        Assert.Equal(0, Evil.FreeToHold);
        Evil.EndHold(Arena.PageBytes);
        Assert.True(Evil.TryHold(1));
    }

    [Fact]
    public void A_lower_limit_lets_go_of_nothing_by_itself_and_of_all_when_others_need_it()
    {
        Fill("acme", 0, Share);
        _accounts.Set("acme", _accounts.Of(Key("acme", 0).Namespace).Limits with { Share = 2 * Arena.PageBytes });
        Assert.Equal(Share, Visible("acme", Share));
        Fill("evil", 0, 100);
        Assert.Equal(2, Visible("acme", Share));
    }

    [Fact]
    public void The_meter_counts_bytes_by_their_time_and_what_was_written()
    {
        Fill("acme", 0, 2);
        _time.Advance(TimeSpan.FromSeconds(10));
        _store.Remove(Key("acme", 0));
        _time.Advance(TimeSpan.FromSeconds(5));
        var acme = _accounts.Of("acme");
        acme.Read(256);
        acme.Missed();
        var meter = _store.GetStatistics(acme);
        Assert.Equal(Arena.PageBytes * ((2 * 10) + 5.0), meter.ByteSeconds, precision: 3);
        Assert.Equal((1, 2, 1, 256, 1), (meter.Blocks, meter.WrittenBlocks, meter.ReadBlocks, meter.ReadTokens, meter.MissedBlocks));
        Assert.Equal((Arena.PageBytes, (long)Share * Arena.PageBytes), (meter.UsedBytes, meter.ShareBytes!.Value));
        Assert.Equal(0, _store.GetStatistics(Evil).ByteSeconds);
    }

    private static BlockKey Key(string tenant, int number) =>
        new(new NamespaceId(TenantId.Of(tenant), 1), PrefixHasher.HashBlock(PrefixHasher.TokenRoot, [number]));

    private BlockWrite? Reserve(string tenant, int number, int pages = 1) =>
        _store.TryReserve(Key(tenant, number), KvLayout.Opaque(pages * Arena.PageBytes, 1), default);

    private void Fill(string tenant, int from, int to)
    {
        for (var i = from; i < to; i++)
        {
            using var write = Reserve(tenant, i);
            Assert.NotNull(write);
            Assert.Equal(PublishOutcome.Published, _store.Publish(write.Key, write.Generation));
        }
    }

    private int Visible(string tenant, int count) => Enumerable.Range(0, count).Count(i => _store.Contains(Key(tenant, i)));
}
