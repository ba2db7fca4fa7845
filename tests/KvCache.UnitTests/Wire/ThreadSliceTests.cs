using System.Globalization;
using KvCache.Engine.Wire;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ThreadSliceTests
{
    private const string Schedule = "/proc/thread-self/sched";

    [Fact]
    public void A_thread_gets_the_slices_of_what_it_does_and_threads_that_it_starts_do_not()
    {
        Assert.SkipUnless(File.Exists(Schedule), $"This kernel does not tell slices: there is no {Schedule}.");
        Assert.SkipUnless(
            OperatingSystem.IsLinux()
            && Environment.OSVersion.Version >= new Version(6, 12),
            $"Linux {Environment.OSVersion.Version} has no slices of single threads; 6.12 has.");
        var before = OnThread(Slice);
        var (small, bulk, started) = OnThread(() =>
        {
            ThreadSlice.ForSmallRequests();
            var small = Slice();
            ThreadSlice.ForBulk();
            return (small, Slice(), OnThread(Slice));
        });
        Assert.Equal(100_000, small);
        Assert.Equal(5_000_000, bulk);
        Assert.Equal(before, started);
    }

    private static long Slice() =>
        long.Parse(File.ReadLines(Schedule).First(line => line.StartsWith("se.slice", StringComparison.Ordinal)).Split(':')[1],
        CultureInfo.InvariantCulture);

    private static T OnThread<T>(Func<T> body)
    {
        T? result = default;
        var thread = new Thread(() => result = body());
        thread.Start();
        thread.Join();
        return result!;
    }
}
