using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A life means the same in every cache: what it may be, when it ends, who changes it.</summary>
public sealed class LifeTests : IAsyncLifetime
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan Few = TimeSpan.FromSeconds(3); // so that a block is still there when its life is changed
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("lives", KvLayout.Opaque(16 << 10, 16));
    private SiloProcess _silo = null!;

    public static TheoryData<string> Caches => ["local", "client", "tiered"];

    public async ValueTask InitializeAsync() => _silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "32MiB"));

    public ValueTask DisposeAsync() => _silo.DisposeAsync();

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task A_life_of_nothing_is_the_callers_mistake(string kind)
    {
        await using var cache = Create(kind);
        var prefix = Prefixes.New(Ns, 2);
        foreach (var life in new[] { TimeSpan.Zero, TimeSpan.FromTicks(-1) })
        {
            await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await StoreAsync(cache, prefix, life));
            await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await cache.ExpireAsync(prefix, life));
        }

        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await cache.PinAsync(prefix, TimeSpan.FromTicks(-1)));
        Assert.Equal(0, (await cache.MatchAsync(prefix)).Blocks);
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task The_latest_store_says_how_long_blocks_live(string kind)
    {
        await using var cache = Create(kind);
        KvPrefix longer = Prefixes.New(Ns, 3), shorter = Prefixes.New(Ns, 3), kept = Prefixes.New(Ns, 3), unsaid = Prefixes.New(Ns, 3);
        var before = Prefixes.New(Ns, 1);
        await StoreAsync(cache, before, Few);
        await StoreAsync(cache, longer, Few);
        await StoreAsync(cache, longer, Long);
        await StoreAsync(cache, kept, Long);
        await StoreAsync(cache, kept, Short, refresh: false);
        await StoreAsync(cache, unsaid, Long);
        await StoreAsync(cache, unsaid, null);
        await StoreAsync(cache, shorter, null);
        await StoreAsync(cache, shorter, Short);

        await GoneAsync(cache, shorter);
        await GoneAsync(cache, before);
        await AssertFoundAsync([3, 3, 3], cache, longer, kept, unsaid);
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task Lives_are_set_without_a_store(string kind)
    {
        await using var cache = Create(kind);
        KvPrefix endless = Prefixes.New(Ns, 3), ended = Prefixes.New(Ns, 3), before = Prefixes.New(Ns, 1);
        await StoreAsync(cache, before, Few);
        await StoreAsync(cache, endless, Few);
        Assert.Equal(3, await cache.ExpireAsync(endless, null));
        await StoreAsync(cache, ended, null);
        Assert.Equal(3, await cache.ExpireAsync(ended, Short));

        await GoneAsync(cache, ended);
        await GoneAsync(cache, before);
        await AssertFoundAsync([3], cache, endless);
        Assert.Equal(0, await cache.ExpireAsync(ended, Long));
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task A_namespace_is_cleared_and_no_other(string kind)
    {
        await using var cache = Create(kind);
        var other = Ns with { Model = "other" };
        KvPrefix first = Prefixes.New(Ns, 40), second = Prefixes.New(Ns, 3), stays = Prefixes.New(other, 3);
        foreach (var prefix in new[] { first, second, stays })
            await StoreAsync(cache, prefix, null);

        Assert.Equal(new DeleteResult(43, IsConfirmed: true), await cache.ClearAsync(Ns));

        await AssertFoundAsync([0, 0, 3], cache, first, second, stays);
        Assert.Equal(new DeleteResult(0, IsConfirmed: true), await cache.ClearAsync(Ns));
        await StoreAsync(cache, first, null);
        await AssertFoundAsync([40], cache, first);
    }

    private IKvCache Create(string kind) => kind switch
    {
        "local" => new LocalKvCache(ByteSize.MiB(32)),
        "client" => _silo.Connect(),
        _ => new TieredKvCache(new LocalKvCache(ByteSize.MiB(32)), _silo.Connect()),
    };

    private static async Task StoreAsync(IKvCache cache, KvPrefix prefix, TimeSpan? life, bool refresh = true)
    {
        var result = await cache.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(life, RefreshLife: refresh));
        Assert.Equal((prefix.BlockCount, 0), (result.Stored + result.AlreadyStored, result.Refused));
    }

    private static async Task AssertFoundAsync(int[] blocks, IKvCache cache, params KvPrefix[] prefixes)
    {
        var found = new List<int>();
        foreach (var prefix in prefixes)
            found.Add((await cache.MatchAsync(prefix)).Blocks);
        Assert.Equal(blocks, found);
    }

    private static async Task GoneAsync(IKvCache cache, KvPrefix prefix) =>
        await Eventually.TrueAsync("the blocks' life is over", async () => (await cache.MatchAsync(prefix)).Blocks == 0);
}
