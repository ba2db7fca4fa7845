namespace KvCache.UnitTests.Support;

internal static class Allocations
{
    /// <summary>Bytes that an action allocates on this thread once it is warm: the least of several runs.</summary>
    public static long Of(Action action)
    {
        var least = long.MaxValue;
        for (var run = 0; run < 20; run++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            action();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
