using System.Diagnostics;

namespace KvCache.Testing;

/// <summary>Waits for conditions, with a bound that only a hang reaches.</summary>
internal static class Eventually
{
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);

    public static Task<TimeSpan> TrueAsync(string what, Func<bool> condition) => TrueAsync(what, () => Task.FromResult(condition()));

    public static async Task<TimeSpan> TrueAsync(string what, Func<Task<bool>> condition)
    {
        var began = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(began) > Bound)
                Assert.Fail($"Waited {Bound.TotalSeconds:0} s, and still it is not so that {what}.");
            await Task.Delay(10);
        }

        var took = Stopwatch.GetElapsedTime(began);
        Report.Line($"It took {took.TotalMilliseconds:0} ms until {what}.");
        return took;
    }
}
