using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Caching.Hybrid;
using Microsoft.Extensions.DependencyInjection;

namespace KvCache.ProcessTests.Caching;

/// <summary>What every distributed cache has to do, and a HybridCache on top of it.</summary>
public abstract class DistributedCacheContract
{
    private static readonly DistributedCacheEntryOptions ForLong = new() { AbsoluteExpirationRelativeToNow = TimeSpan.FromHours(1) };

    /// <summary>A key of this test alone.</summary>
    protected string Key { get; } = $"key {Guid.NewGuid():N} ÅŁ☃";

    /// <summary>Adds a cache to the services of a program.</summary>
    protected abstract void AddCache(IServiceCollection services);

    [Fact]
    public async Task An_entry_that_nobody_has_stored_is_not_found()
    {
        await using var program = Start();
        Assert.Null(await Cache(program).GetAsync(Key));
        Assert.Null(Cache(program).Get(Key));
        await Cache(program).RemoveAsync(Key);
        await Cache(program).RefreshAsync(Key);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5000)]
    [InlineData((3 << 20) + 7)]
    public async Task An_entry_is_found_by_another_program_as_it_was_stored(int bytes)
    {
        await using var writer = Start();
        await using var reader = Start();
        var value = RandomNumberGenerator.GetBytes(bytes);
        await Cache(writer).SetAsync(Key, value, ForLong);
        Assert.Equal(value, await Cache(reader).GetAsync(Key));
        Assert.Equal(value, Cache(reader).Get(Key));
    }

    [Fact]
    public async Task A_later_entry_replaces_an_earlier_one_and_its_life()
    {
        await using var program = Start();
        var cache = Cache(program);
        await cache.SetAsync(Key, [1, 2, 3], new() { AbsoluteExpirationRelativeToNow = TimeSpan.FromSeconds(1) });
        cache.Set(Key, [4], ForLong);
        await Task.Delay(TimeSpan.FromSeconds(1.5));
        Assert.Equal([4], await cache.GetAsync(Key));
    }

    [Fact]
    public async Task An_entry_that_was_removed_is_gone()
    {
        await using var program = Start();
        var cache = Cache(program);
        await cache.SetAsync(Key, [1], ForLong);
        await cache.RemoveAsync(Key);
        Assert.Null(await cache.GetAsync(Key));
        cache.Set(Key, [2], ForLong);
        cache.Remove(Key);
        Assert.Null(cache.Get(Key));
    }

    [Fact]
    public async Task An_entry_ends_at_its_absolute_expiration_however_often_it_is_read()
    {
        await using var program = Start();
        var cache = Cache(program);
        var began = Stopwatch.GetTimestamp();
        await cache.SetAsync(Key, [1], new()
        {
            AbsoluteExpiration = DateTimeOffset.UtcNow + TimeSpan.FromSeconds(2),
            SlidingExpiration = TimeSpan.FromSeconds(60),
        });
        await Eventually.TrueAsync("the entry has ended", async () => await cache.GetAsync(Key) is null);
        Assert.InRange(Stopwatch.GetElapsedTime(began).TotalSeconds, 0.9, 60); // the one over Redis counts in whole seconds
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_entry_with_a_sliding_expiration_lives_while_it_is_used(bool byRefresh)
    {
        await using var program = Start();
        var cache = Cache(program);
        var sliding = TimeSpan.FromSeconds(2);
        for (var isTried = false; !isTried;)
        {
            await cache.SetAsync(Key, [1], new() { SlidingExpiration = sliding });
            var began = Stopwatch.GetTimestamp();
            var (longest, last) = (TimeSpan.Zero, began);
            while (Stopwatch.GetElapsedTime(began) < 2 * sliding)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(300));
                if (byRefresh)
                    await cache.RefreshAsync(Key);
                else
                    await cache.GetAsync(Key);
                var pause = Stopwatch.GetElapsedTime(last);
                (longest, last) = (pause > longest ? pause : longest, Stopwatch.GetTimestamp());
            }

            isTried = longest < sliding / 2; // otherwise the machine was too slow to tell
            if (isTried)
                Assert.Equal([1], await cache.GetAsync(Key));
        }

        // Reading is using, so that it may not be looked at more often than it lives.
        await Eventually.TrueAsync("the entry has ended", async () =>
        {
            await Task.Delay(sliding + TimeSpan.FromSeconds(1));
            return await cache.GetAsync(Key) is null;
        });
    }

    [Fact]
    public async Task An_expiration_that_is_not_in_the_future_is_refused()
    {
        await using var program = Start();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            () => Cache(program).SetAsync(Key, [1], new() { AbsoluteExpiration = DateTimeOffset.UtcNow - TimeSpan.FromSeconds(1) }));
        await Assert.ThrowsAsync<ArgumentNullException>(() => Cache(program).GetAsync(null!));
        await Assert.ThrowsAsync<ArgumentNullException>(() => Cache(program).SetAsync(Key, null!, ForLong));
    }

    [Fact]
    public async Task An_entry_moves_between_buffers()
    {
        await using var program = Start();
        var cache = Assert.IsAssignableFrom<IBufferDistributedCache>(Cache(program));
        var value = RandomNumberGenerator.GetBytes(300_000);
        var first = new Segment(value.AsMemory(0, 100_001));
        var last = first.Append(value.AsMemory(100_001));
        await cache.SetAsync(Key, new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length), ForLong);

        var destination = new ArrayBufferWriter<byte>();
        Assert.True(await cache.TryGetAsync(Key, destination));
        Assert.True(destination.WrittenSpan.SequenceEqual(value));
        destination.Clear();
        Assert.True(cache.TryGet(Key, destination));
        Assert.True(destination.WrittenSpan.SequenceEqual(value));
        destination.Clear();
        Assert.False(await cache.TryGetAsync(Key + "?", destination));
        Assert.Equal(0, destination.WrittenCount);
    }

    [Fact]
    public async Task Entries_that_are_written_and_read_at_once_are_whole()
    {
        await using var program = Start();
        var cache = Cache(program);
        await cache.SetAsync(Key, Filled(0), ForLong);
        await Parallel.ForAsync(0, 8, async (worker, token) =>
        {
            for (var i = 0; i < 20; i++)
            {
                if (worker % 2 == 0)
                    await cache.SetAsync(Key, Filled((byte)(worker + i)), ForLong, token);
                var read = await cache.GetAsync(Key, token);
                Assert.NotNull(read);
                Assert.True(read.Length == 40_000 && !read.AsSpan().ContainsAnyExcept(read[0]), "The entry is torn.");
            }
        });

        static byte[] Filled(byte value) => [.. Enumerable.Repeat(value, 40_000)];
    }

    [Fact]
    public async Task A_hybrid_cache_shares_what_was_made_once_with_other_programs()
    {
        await using var first = Start();
        await using var second = Start();
        var made = 0;
        async ValueTask<string> MakeAsync(CancellationToken token)
        {
            Interlocked.Increment(ref made);
            await Task.Yield();
            return new string('x', 100_000);
        }

        var hybrid = first.GetRequiredService<HybridCache>();
        var all = await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => hybrid.GetOrCreateAsync(Key, MakeAsync).AsTask()));
        Assert.All(all, text => Assert.Equal(100_000, text.Length));
        Assert.Equal(1, made);

        // What is stored behind the answer, the other program finds.
        await Eventually.TrueAsync("the entry is stored", async () => await Cache(second).GetAsync(Key) is not null);
        var other = second.GetRequiredService<HybridCache>();
        Assert.Equal(100_000, (await other.GetOrCreateAsync(Key, MakeAsync)).Length);
        Assert.Equal(1, made);

        await other.RemoveAsync(Key);
        Assert.Null(await Cache(first).GetAsync(Key));
        await other.GetOrCreateAsync(Key, MakeAsync);
        Assert.Equal(2, made);
    }

    protected ServiceProvider Start()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        AddCache(services);
        services.AddHybridCache();
        return services.BuildServiceProvider();
    }

    private static IDistributedCache Cache(ServiceProvider program) => program.GetRequiredService<IDistributedCache>();

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(ReadOnlyMemory<byte> memory) => Memory = memory;

        public Segment Append(ReadOnlyMemory<byte> memory)
        {
            var next = new Segment(memory) { RunningIndex = RunningIndex + Memory.Length };
            Next = next;
            return next;
        }
    }
}
