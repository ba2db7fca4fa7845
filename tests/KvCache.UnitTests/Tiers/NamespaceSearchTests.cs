using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Redis has one scan at a time to bear, however many namespaces are cleared at once.</summary>
public sealed class NamespaceSearchTests
{
    private static readonly NamespaceId One = new(TenantId.Of("acme"), 1), Other = new(TenantId.Of("evil"), 2);

    private readonly List<(Action<RedisScanPage> Page, TaskCompletionSource End)> _scans = [];
    private readonly NamespaceSearch _search;

    public NamespaceSearchTests() => _search = new NamespaceSearch(page =>
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
    public async Task A_scan_that_fails_gives_what_it_has_found_and_does_not_keep_the_next_from_beginning()
    {
        var first = Find(One);
        _scans[0].Page(Page(One, 1));
        _scans[0].End.SetException(new RedisException(RedisFailure.Unreachable, "gone"));
        Assert.Equal([Key(One, 1)], await first);

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
        var impatient = _search.FindAsync(One, cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient);

        var next = Find(One);
        Assert.Single(_scans);
        _scans[0].End.SetResult();
        _scans[1].Page(Page(One, 1));
        _scans[1].End.SetResult();
        Assert.Equal([Key(One, 1)], await next);
    }

    private Task<IReadOnlyCollection<BlockKey>> Find(NamespaceId ns) => _search.FindAsync(ns, TestContext.Current.CancellationToken);

    private static BlockKey Key(NamespaceId ns, int number) => new(ns, PrefixHasher.HashEngineKey(BitConverter.GetBytes(number)));

    private static RedisScanPage Page(NamespaceId ns, int number) => new([Key(ns, number)], 1, 1);
}
