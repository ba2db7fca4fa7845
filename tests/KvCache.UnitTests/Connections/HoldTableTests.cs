using KvCache.Engine.Storage;
using KvCache.Silo.Data;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

public sealed class HoldTableTests : IDisposable
{
    private const long MaxBytes = 3 * Arena.PageBytes;

    private readonly StoreFixture _fixture = new(pages: 8);
    private readonly HoldTable _holds = new(MaxBytes);

    public HoldTableTests()
    {
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
