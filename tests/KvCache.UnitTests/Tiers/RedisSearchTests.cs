using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Redis has one scan at a time to bear, however many namespaces are cleared at once.</summary>
public sealed class RedisSearchTests
{
    private static readonly NamespaceId One = new(TenantId.Of("acme"), 1), Other = new(TenantId.Of("evil"), 2);

    private readonly List<(Action<RedisScanPage> Page, TaskCompletionSource End)> _scans = [];
    private readonly RedisSearch _search;

    public RedisSearchTests() => _search = new RedisSearch(page =>
    {
        var end = new TaskCompletionSource();
        _scans.Add((page, end));
        return end.Task;
    });

    [Fact]
    public async Task Who_asks_while_a_scan_runs_shares_the_next_one()
    {
        var first = Find(One);
        var later = Enumerable.Range(0, 100).Select(i => Find(i % 2 == 0 ? One : Other)).ToArray();
        var scan = Assert.Single(_scans);
        scan.Page(Page(One, 1));
        scan.Page(Page(Other, 2));
        scan.End.SetResult();
        Assert.Equal([Key(One, 1)], await first);
        Assert.All(later, task => Assert.False(task.IsCompleted));

        Assert.Equal(2, _scans.Count);
        _scans[1].Page(Page(One, 3));
        _scans[1].Page(Page(Other, 4));
        _scans[1].End.SetResult();
        for (var i = 0; i < later.Length; i++)
            Assert.Equal(i % 2 == 0 ? [Key(One, 3)] : [Key(Other, 4)], await later[i]);
        Assert.Equal(2, _scans.Count);
    }

    [Fact]
    public async Task A_scan_that_fails_says_so_and_does_not_keep_the_next_from_beginning()
    {
        var found = new List<BlockKey>();
        var first = _search.VisitAsync(_ => true, found.AddRange, TestContext.Current.CancellationToken);
        _scans[0].Page(Page(One, 1));
        _scans[0].End.SetException(new RedisException(RedisFailure.Unreachable, "gone"));
        Assert.False(await first);
        Assert.Equal([Key(One, 1)], found);

        var broken = Find(One);
        _scans[1].End.SetException(new InvalidOperationException("a defect"));
        await Assert.ThrowsAsync<InvalidOperationException>(() => broken);
        var next = Find(Other);
        _scans[2].End.SetResult();
        Assert.Empty(await next);
    }

    [Fact]
    public async Task Who_goes_away_leaves_the_scan_to_the_others()
    {
        using var cancel = new CancellationTokenSource();
        var impatient = _search.VisitAsync(_ => true, _ => Assert.Fail("It has gone."), cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient);

        var next = Find(One);
        Assert.Single(_scans);
        _scans[0].Page(Page(One, 7));
        _scans[0].End.SetResult();
        _scans[1].Page(Page(One, 1));
        _scans[1].End.SetResult();
        Assert.Equal([Key(One, 1)], await next);
    }

    [Fact]
    public async Task Who_fails_costs_the_others_nothing()
    {
        var failing = _search.VisitAsync(
            _ => true, _ => throw new InvalidOperationException("a defect"), TestContext.Current.CancellationToken);
        _scans[0].End.SetResult();
        Assert.True(await failing);
        failing = _search.VisitAsync(
            _ => true, _ => throw new InvalidOperationException("a defect"), TestContext.Current.CancellationToken);
        var running = _scans[1];
        var others = new[] { Find(One), Find(Other) };
        running.Page(Page(One, 1));
        running.End.SetResult();
        await Assert.ThrowsAsync<InvalidOperationException>(() => failing);
        _scans[2].Page(Page(One, 2));
        _scans[2].End.SetResult();
        Assert.Equal([Key(One, 2)], await others[0]);
        Assert.Empty(await others[1]);
    }

    private async Task<List<BlockKey>> Find(NamespaceId ns)
    {
        var found = new List<BlockKey>();
        Assert.True(await _search.VisitAsync(key => key.Namespace == ns, found.AddRange, TestContext.Current.CancellationToken));
        return found;
    }

    private static BlockKey Key(NamespaceId ns, int number) => new(ns, PrefixHasher.HashEngineKey(BitConverter.GetBytes(number)));

    private static RedisScanPage Page(NamespaceId ns, int number) => new([Key(ns, number)], 1, 1);
}
