using KvCache.Engine.Index;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class IndexLogTests
{
    [Fact]
    public void Deltas_are_read_by_their_numbers()
    {
        var log = new IndexLog(8);
        var buffer = new IndexDelta[8];
        Assert.Equal(0, log.Read(0, buffer, out _));
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal((ulong)i, log.Append(Delta(i)));
            var from = Math.Max(0, i - 7);
            Assert.Equal(i - from + 1, log.Read((ulong)from, buffer, out var first));
            Assert.Equal((ulong)from, first);
            Assert.Equal(Enumerable.Range(from, i - from + 1).Select(Delta), buffer[..(i - from + 1)]);
        }

        Assert.Equal(20UL, log.Next);
        Assert.Equal(3, log.Read(14, buffer.AsSpan(0, 3), out _));
        Assert.Equal(Delta(14), buffer[0]);
        Assert.Equal(0, log.Read(20, buffer, out _));
    }

    [Fact]
    public void What_is_no_longer_kept_is_a_gap()
    {
        var log = new IndexLog(4);
        for (var i = 0; i < 10; i++)
            log.Append(Delta(i));
        var buffer = new IndexDelta[4];
        Assert.Equal(IndexLog.Gap, log.Read(5, buffer, out var oldest));
        Assert.Equal(6UL, oldest);
        Assert.Equal(4, log.Read(6, buffer, out _));
    }

    [Fact]
    public void A_number_from_the_future_is_a_gap()
    {
        var log = new IndexLog(4);
        log.Append(Delta(0));
        Assert.Equal(IndexLog.Gap, log.Read(2, new IndexDelta[4], out var oldest));
        Assert.Equal(0UL, oldest);
    }

    [Fact]
    public void Each_log_has_its_own_incarnation() => Assert.NotEqual(new IndexLog(1).Incarnation, new IndexLog(1).Incarnation);

    [Fact]
    public async Task A_reader_is_never_given_overwritten_deltas()
    {
        // The ring is so short that the reader is overtaken all the time.
        var log = new IndexLog(16);
        const int Total = 200_000;
        var writer = Task.Run(() =>
        {
            for (var i = 0; i < Total; i++)
                log.Append(Delta(i));
        }, TestContext.Current.CancellationToken);

        var buffer = new IndexDelta[16];
        for (ulong at = 0; at < Total;)
        {
            var count = log.Read(at, buffer, out var first);
            if (count == IndexLog.Gap)
            {
                Assert.InRange(first, at, ulong.MaxValue);
                at = first;
                continue;
            }

            for (var i = 0; i < count; i++)
                Assert.Equal(at + (ulong)i, buffer[i].Stamp);
            at += (ulong)count;
        }

        await writer;
    }

    [Fact]
    public async Task Every_reader_that_waits_hears_every_append()
    {
        var log = new IndexLog();
        const int Total = 20_000;
        var cancel = TestContext.Current.CancellationToken;
        var readers = Enumerable.Range(0, 3).Select(_ => Task.Run(async () =>
        {
            var buffer = new IndexDelta[64];
            for (ulong at = 0; at < Total;)
            {
                await log.WaitAsync(at, cancel);
                var count = log.Read(at, buffer, out var first);
                Assert.InRange(count, 1, 64);
                at += (ulong)count;
            }
        }, cancel)).ToArray();
        var thread = Task.Factory.StartNew(() =>
        {
            for (ulong at = 0; at < Total; at = log.Next)
                Assert.True(log.Wait(at, TimeSpan.FromMinutes(1)));
        }, cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        for (var i = 0; i < Total; i++)
            log.Append(Delta(i));
        await Task.WhenAll([.. readers, thread]);
    }

    [Fact]
    public async Task A_wait_ends_with_its_time_or_its_token()
    {
        var log = new IndexLog();
        Assert.False(log.Wait(0, TimeSpan.FromMilliseconds(1)));
        Assert.False(log.Wait(0, TimeSpan.Zero));

        using var cancel = new CancellationTokenSource();
        var wait = log.WaitAsync(0, cancel.Token).AsTask();
        Assert.False(wait.IsCompleted);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => wait);

        log.Append(Delta(0));
        Assert.True(log.Wait(0, TimeSpan.Zero));
        await log.WaitAsync(0, TestContext.Current.CancellationToken);
    }

    [Fact]
    public void An_append_without_waiters_allocates_nothing()
    {
        var log = new IndexLog(64);
        log.Append(Delta(0));
        var delta = Delta(1);
        Assert.Equal(0, Allocations.Of(() =>
        {
            for (var i = 0; i < 1000; i++)
                log.Append(in delta);
        }));
    }

    private static IndexDelta Delta(int number) => new(IndexOperation.Added, Keys.Key(number), (ulong)number);
}
