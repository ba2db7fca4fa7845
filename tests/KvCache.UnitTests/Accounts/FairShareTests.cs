using KvCache.Silo.Accounts;
using KvCache.Testing;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Who waits while a silo is busy, and who does not.</summary>
public sealed class FairShareTests : IDisposable
{
    private readonly ManualTime _time = new();
    private readonly FairShare _share;

    public FairShareTests() => _share = new FairShare(tenant => tenant == "all" ? 1 : tenant == "acme" ? 0.5 : 0.25, slots: 8, _time);

    public void Dispose() => _share.Dispose();

    [Fact]
    public void What_nobody_uses_is_lent()
    {
        var turns = Take("evil", 8);
        Assert.Equal(8, _share.Busy);
        turns.ForEach(turn => turn.End());
        Assert.Equal(0, _share.Busy);
    }

    [Fact]
    public void Who_has_less_than_its_part_never_waits()
    {
        Take("evil", 8);
        Take("acme", 4); // half of eight
        Assert.Equal((12, 0), (_share.Busy, _share.Waiting));
    }

    [Fact]
    public void The_only_tenant_never_waits()
    {
        Take("all", 100);
        Assert.Equal((100, 0), (_share.Busy, _share.Waiting));
    }

    [Fact]
    public async Task Who_has_more_than_its_part_waits_until_somebody_ends()
    {
        var running = Take("evil", 8);
        var waits = BeginAsync("evil");
        await UntilWaitingAsync(1);
        running[0].End();
        await waits.WaitAsync(Eventually.Bound);
        Assert.Equal(8, _share.Busy);
    }

    [Fact]
    public async Task The_first_turn_is_for_whom_the_least_of_his_part_runs()
    {
        var evil = Take("evil", 4);
        Take("acme", 4);
        var (more, first) = (BeginAsync("evil"), BeginAsync("acme"));
        await UntilWaitingAsync(2);
        evil[0].End(); // three of its two run still, and four of acme's four
        await first.WaitAsync(Eventually.Bound);
        Assert.False(more.IsCompleted);
        evil[1].End();
        evil[2].End();
        await more.WaitAsync(Eventually.Bound);
    }

    [Fact]
    public async Task Who_stands_still_holds_nobody_up()
    {
        Take("evil", 8);
        var waits = BeginAsync("evil");
        await UntilWaitingAsync(1);
        _time.Advance(FairShare.Lapse);
        await waits.WaitAsync(Eventually.Bound);
        Assert.Equal(1, _share.Busy); // the slow ones do not count any more
    }

    [Fact]
    public async Task A_long_transfer_gives_way_between_two_blocks()
    {
        var transfer = Take("evil", 8)[0];
        Assert.Equal(TimeSpan.Zero, transfer.Continue()); // nobody waits
        var waits = BeginAsync("evil");
        await UntilWaitingAsync(1);
        Assert.Equal(TimeSpan.Zero, transfer.Continue()); // it has only just begun
        _time.Advance(FairShare.Lapse / 2);
        var continues = Task.Run(transfer.Continue);
        await waits.WaitAsync(Eventually.Bound);
        await UntilWaitingAsync(1);
        _time.Advance(FairShare.Lapse);
        await continues.WaitAsync(Eventually.Bound);
    }

    [Fact]
    public async Task Nobody_waits_for_ever_and_nothing_is_counted_twice()
    {
        using var share = new FairShare(_ => 0.1, slots: 2);
        await Task.WhenAll(Enumerable.Range(0, 16).Select(i => Task.Run(() =>
        {
            using var turn = share.Register($"tenant {i % 3}");
            for (var round = 0; round < 2000; round++)
            {
                turn.Begin();
                turn.Continue();
                turn.End();
            }
        }))).WaitAsync(Eventually.Bound);
        Assert.Equal((0, 0), (share.Busy, share.Waiting));
    }

    [Fact]
    public void A_connection_that_ends_leaves_nothing()
    {
        var turns = Take("evil", 3);
        turns.ForEach(turn => turn.Dispose());
        Assert.Equal(0, _share.Busy);
    }

    private List<FairShare.Turn> Take(string tenant, int count)
    {
        var turns = Enumerable.Range(0, count).Select(_ => _share.Register(tenant)).ToList();
        Assert.All(turns, turn => Assert.Equal(TimeSpan.Zero, turn.Begin()));
        return turns;
    }

    private Task BeginAsync(string tenant) => _share.Register(tenant).BeginAsync().AsTask();

    private async Task UntilWaitingAsync(int requests) => await Eventually.TrueAsync("they wait", () => _share.Waiting == requests);
}
