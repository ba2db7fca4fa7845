using System.Runtime.CompilerServices;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.TorchSharp;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LocalKvCacheTests
{
    private const int CachedBlocks = 8;

    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private readonly ManualTime _time = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_held_match_keeps_its_blocks_until_it_ends()
    {
        await using var cache = Create();
        var held = Names.Prefix(2, seed: 1);
        await StoreAsync(cache, held);
        var match = await cache.MatchAsync(held, Second, Token);
        Assert.True(match.Held);
        await FillAsync(cache);
        Assert.Equal(2, await CountAsync(cache, held));
        await match.DisposeAsync();
        await match.DisposeAsync();
        await FillAsync(cache);
        Assert.Equal(0, await CountAsync(cache, held));
    }

    [Fact]
    public async Task A_hold_ends_with_its_time()
    {
        await using var cache = Create();
        var held = Names.Prefix(2, seed: 1);
        await StoreAsync(cache, held);
        await using var match = await cache.MatchAsync(held, Second, Token);
        _time.Advance(Second);
        await FillAsync(cache);
        Assert.Equal(0, await CountAsync(cache, held));
    }

    [Fact]
    public async Task A_hold_that_its_caller_forgot_ends_with_its_time()
    {
        await using var cache = new LocalKvCache(new ByteSize(CachedBlocks * Arena.PageBytes));
        var held = Names.Prefix(2, seed: 1);
        await StoreAsync(cache, held);
        Forget();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        while (await CountAsync(cache, held) > 0)
        {
            Assert.False(limit.IsCancellationRequested, "The hold did not end.");
            await FillAsync(cache);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        void Forget() => Assert.True(cache.MatchAsync(held, TimeSpan.FromMilliseconds(300), Token).AsTask().IsCompletedSuccessfully);
    }

    [Fact]
    public async Task A_hold_for_ever_is_a_long_hold()
    {
        await using var cache = Create();
        var held = Names.Prefix(1, seed: 1);
        await StoreAsync(cache, held);
        await using (await cache.MatchAsync(held, TimeSpan.MaxValue, Token))
        {
            await FillAsync(cache);
            Assert.Equal(1, await CountAsync(cache, held));
        }

        await FillAsync(cache);
        Assert.Equal(0, await CountAsync(cache, held));
    }

    [Fact]
    public async Task Holds_leave_most_of_the_memory_to_others()
    {
        await using var cache = Create();
        var prefix = Names.Prefix(CachedBlocks, seed: 1);
        await StoreAsync(cache, prefix);
        await using var match = await cache.MatchAsync(prefix, Second, Token);
        Assert.Equal(CachedBlocks, match.Blocks);
        await FillAsync(cache);
        Assert.Equal(CachedBlocks / 4, await CountAsync(cache, prefix));
    }

    [Fact]
    public async Task A_pin_keeps_blocks_and_a_zero_pin_lets_them_go()
    {
        await using var cache = Create();
        var pinned = Names.Prefix(2, seed: 1);
        await StoreAsync(cache, pinned);
        Assert.Equal(2, await cache.PinAsync(pinned, Second, Token));
        await FillAsync(cache);
        Assert.Equal(2, await CountAsync(cache, pinned));
        Assert.Equal(2, await cache.PinAsync(pinned, TimeSpan.Zero, Token));
        await FillAsync(cache);
        Assert.Equal(0, await cache.PinAsync(pinned, Second, Token));
    }

    [Fact]
    public async Task Blocks_live_as_long_as_their_store_said()
    {
        await using var cache = Create();
        var prefix = Names.Prefix(2);
        await cache.StoreAsync(prefix, 0, Blocks.ToStore(Blocks.Of(prefix, 1)), new StoreOptions(Second), Token);
        Assert.Equal(2, await CountAsync(cache, prefix));
        _time.Advance(Second);
        Assert.Equal(0, await CountAsync(cache, prefix));
    }

    [Fact]
    public async Task Deleted_blocks_give_their_memory_back()
    {
        await using var cache = Create();
        var prefix = Names.Prefix(2);
        await StoreAsync(cache, prefix);
        Assert.Equal(2 * Arena.PageBytes, (await cache.GetStatisticsAsync(Token)).MemoryBytes);
        await cache.DeleteAsync(prefix, Token);
        Assert.Equal(0, (await cache.GetStatisticsAsync(Token)).MemoryBytes);
    }

    [Fact]
    public async Task Blocks_that_do_not_fit_are_refused_with_the_reason()
    {
        await using var cache = Create();
        var large = Names.Prefix(1, 0, Names.Namespace with { Layout = KvLayout.Opaque((CachedBlocks * Arena.PageBytes) + 1, 2) });
        var refused = await cache.StoreAsync(large, 0, Blocks.ToStore(Blocks.Of(large, 1)), null, Token);
        Assert.Equal((0, 1, PutOutcome.TooLarge), (refused.Stored, refused.Refused, refused.FirstRefusal));

        var half = Names.Prefix(2, 0, Names.Namespace with { Layout = KvLayout.Opaque(CachedBlocks * Arena.PageBytes / 2, 2) });
        await StoreAsync(cache, half);
        Assert.Equal(1, await cache.PinAsync(half, Second, Token));
        var whole = Names.Prefix(1, 0, Names.Namespace with { Layout = KvLayout.Opaque(CachedBlocks * Arena.PageBytes, 2) });
        Assert.Equal(
            PutOutcome.NoMemory, (await cache.StoreAsync(whole, 0, Blocks.ToStore(Blocks.Of(whole, 1)), null, Token)).FirstRefusal);
    }

    [Fact]
    public async Task A_disposed_cache_keeps_its_memory_while_it_is_held()
    {
        var cache = Create();
        var prefix = Names.Prefix(1);
        await StoreAsync(cache, prefix);
        var match = await cache.MatchAsync(prefix, Second, Token);
        await cache.DisposeAsync();
        Assert.Equal(Arena.PageBytes, cache.UsedBytes);
        await match.DisposeAsync();
        Assert.Equal(0, cache.UsedBytes);
    }

    [Fact]
    public async Task Arguments_that_do_not_fit_are_errors_that_say_what_fits()
    {
        await using var cache = Create();
        var prefix = Names.Prefix(2);
        await ExpectAsync(
            "Block 1 has 47 bytes; a block of this namespace has 48.", () =>
            cache.StoreAsync(prefix, 0, [new byte[48], new byte[47]], null, Token));
        await ExpectAsync(
            "Blocks 1..2 do not lie in a prefix of 2 blocks.", () =>
            cache.StoreAsync(prefix, 1, [new byte[48], new byte[48]], null, Token));
        await ExpectAsync(
            "Blocks -1..-1 do not lie in a prefix of 2 blocks.", () => cache.LoadAsync(prefix, -1, [new byte[48]],
                cancellationToken: Token));
        await ExpectAsync(
            "The memory for block 1 has 48 bytes; layers [0..1) have 16.", () =>
            cache.LoadAsync(prefix, 1, [new byte[48]], new LayerRange(0, 1), cancellationToken: Token));
        await ExpectAsync(
            "The layers [2..4) do not lie in a block of 3 layers.", () =>
            cache.LoadAsync(prefix, 0, [new byte[32]], new LayerRange(2, 2), cancellationToken: Token));

        static async Task ExpectAsync<T>(string message, Func<ValueTask<T>> call)
        {
            var error = await Assert.ThrowsAnyAsync<ArgumentException>(async () => await call());
            Assert.StartsWith(message, error.Message, StringComparison.Ordinal);
        }
    }

    private static async Task StoreAsync(LocalKvCache cache, KvPrefix prefix)
    {
        var result = await cache.StoreAsync(prefix, 0, Blocks.ToStore(Blocks.Of(prefix, 1)), null, Token);
        Assert.Equal(prefix.BlockCount, result.Stored + result.AlreadyStored);
    }

    private static async Task FillAsync(LocalKvCache cache)
    {
        for (var seed = 100; seed < 100 + CachedBlocks; seed++)
            await StoreAsync(cache, Names.Prefix(1, seed));
        for (var seed = 100; seed < 100 + CachedBlocks; seed++)
            await cache.DeleteAsync(Names.Prefix(1, seed), Token);
    }

    private static async Task<int> CountAsync(LocalKvCache cache, KvPrefix prefix) =>
        (await cache.MatchAsync(prefix, default, Token)).Blocks;

    private LocalKvCache Create() => new(new ByteSize(CachedBlocks * Arena.PageBytes), _time);
}
