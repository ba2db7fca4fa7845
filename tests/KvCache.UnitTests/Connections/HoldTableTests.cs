using KvCache.Engine.Storage;
using KvCache.Silo.Data;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

public sealed class HoldTableTests : IDisposable
{
    private const long MaxBytes = 3 * Arena.PageBytes;

    private readonly StoreFixture _fixture = new(pages: 8);
    private readonly Holds _all = new();
    private readonly HoldTable _holds;

    public HoldTableTests()
    {
        _holds = new HoldTable(_all, MaxBytes);
        _holds.Account = _fixture.Store.Accounts.Of(StoreFixture.Key(0).Namespace);
        for (var key = 0; key < 4; key++)
            Assert.True(_fixture.Put(key));
    }

    public void Dispose()
    {
        _holds.Dispose();
        _fixture.Dispose();
    }

    [Fact]
    public void A_hold_ends_with_its_time_and_not_before()
    {
        Hold(0, until: 100);
        Hold(1, until: 200);

        _holds.Expire(99);
        Assert.Equal(2, Held);
        _holds.Expire(100);
        Assert.Equal(1, Held);
        Assert.Equal(MaxBytes - Arena.PageBytes, _holds.FreeBytes);
        _holds.Expire(1000);
        Assert.Equal(0, Held);
        Assert.Equal(MaxBytes, _holds.FreeBytes);
    }

    [Fact]
    public void A_hold_that_is_released_is_gone_and_the_second_time_it_is_nobodys()
    {
        var first = Hold(0, until: 100);
        var second = Hold(1, until: 100);

        Assert.True(_holds.Release(first));
        Assert.False(_holds.Release(first));
        Assert.Equal(1, Held);
        Assert.True(_holds.Release(second));
        Assert.Equal((0, MaxBytes), (Held, _holds.FreeBytes));
    }

    [Fact]
    public void Holds_go_with_their_connection_and_none_comes_behind_it()
    {
        Hold(0, until: long.MaxValue);
        Hold(1, until: long.MaxValue);

        _holds.Dispose();

        Assert.Equal(0, Held);
        using var leases = Lease(2);
        Assert.Equal(0UL, _holds.Add(leases, long.MaxValue));
        Assert.Single(leases); // still the caller's
    }

    [Fact]
    public void What_the_tenant_may_not_hold_stays_the_callers()
    {
        _holds.Account!.Limits = _holds.Account.Limits with { Held = Arena.PageBytes };
        var held = Hold(0, until: 100);
        Assert.NotEqual(0UL, held);
        Assert.Equal(0, _holds.FreeBytes);
        using (var leases = Lease(1))
            Assert.Equal(0UL, _holds.Add(leases, 100));

        _holds.Expire(100);
        Assert.NotEqual(0UL, Hold(1, until: 200)); // what has ended is given back
    }

    [Theory]
    [InlineData("read")]
    [InlineData("time")]
    [InlineData("connection")]
    [InlineData("release")]
    public void What_is_being_read_stays_until_it_is_read_whatever_ends_its_hold(string end)
    {
        var id = Hold(0, until: 100);
        var use = _all.Use(id, _holds.Account!, ends: end == "read")!;
        Assert.NotNull(use.Find(StoreFixture.Key(0)));
        Assert.Null(use.Find(StoreFixture.Key(1)));
        if (end == "time")
            _holds.Expire(100);
        else if (end == "connection")
            _holds.Dispose();
        else if (end == "release")
            Assert.True(_holds.Release(id));
        Assert.Equal(1, Held);

        use.Dispose();

        Assert.Equal((0, MaxBytes), (Held, _holds.FreeBytes));
        Assert.Null(_all.Use(id, _holds.Account!, ends: true));
    }

    [Fact]
    public void A_read_that_does_not_end_the_hold_leaves_it_and_two_may_read_at_once()
    {
        var id = Hold(0, until: 100);
        using (var one = _all.Use(id, _holds.Account!, ends: false)!)
        {
            using var other = _all.Use(id, _holds.Account!, ends: false)!;
            Assert.Same(one.Find(StoreFixture.Key(0)), other.Find(StoreFixture.Key(0)));
        }

        Assert.Equal(1, Held);
        Assert.True(_holds.Release(id));
        Assert.Equal(0, Held);
    }

    [Fact]
    public void Nobody_reads_or_ends_the_hold_of_another_tenant_or_ends_that_of_another_connection()
    {
        var id = Hold(0, until: 100);
        var stranger = new TenantAccounts().Others;
        using var foreign = new HoldTable(_all, MaxBytes) { Account = stranger };
        using var sibling = new HoldTable(_all, MaxBytes) { Account = _holds.Account };

        Assert.Null(_all.Use(id, stranger, ends: true));
        Assert.False(foreign.Release(id));
        Assert.False(sibling.Release(id));
        Assert.Equal(1, Held);
    }

    [Fact]
    public void Blocks_are_found_in_the_order_of_their_chain_also_from_its_middle_on()
    {
        using var leases = Lease(0);
        leases.Add(_fixture.Store.TryLease(StoreFixture.Key(1))!);
        leases.Add(_fixture.Store.TryLease(StoreFixture.Key(2))!);
        var id = _holds.Add(leases, 100);

        using var use = _all.Use(id, _holds.Account!, ends: true)!;

        Assert.Equal(StoreFixture.Key(1), use.Find(StoreFixture.Key(1))?.Key);
        Assert.Null(use.Find(StoreFixture.Key(3)));
        Assert.Equal(StoreFixture.Key(2), use.Find(StoreFixture.Key(2))?.Key);
        Assert.Null(use.Find(StoreFixture.Key(2)));
    }

    private int Held => _fixture.Store.GetStatistics().LeasedBlocks;

    private ulong Hold(int key, long until)
    {
        using var leases = Lease(key);
        return _holds.Add(leases, until);
    }

    private LeaseList Lease(int key)
    {
        var leases = new LeaseList();
        leases.Add(_fixture.Store.TryLease(StoreFixture.Key(key))!);
        return leases;
    }
}
