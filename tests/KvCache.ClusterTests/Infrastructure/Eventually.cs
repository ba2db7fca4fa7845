using System.Diagnostics;

namespace KvCache.ClusterTests.Infrastructure;

/// <summary>Waits for conditions, with a bound that only a hang reaches.</summary>
internal static class Eventually
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(30);

    public static Task TrueAsync(string what, Func<bool> condition) => TrueAsync(what, () => Task.FromResult(condition()));

    public static async Task TrueAsync(string what, Func<Task<bool>> condition)
    {
        var began = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(began) > Bound)
                Assert.Fail($"Waited {Bound.TotalSeconds:0} s, and still it is not so that {what}.");
            await Task.Delay(10);
        }
    }
}
