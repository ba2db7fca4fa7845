using System.Diagnostics;

namespace KvCache.Notebook;

/// <summary>Waits for what happens elsewhere, in another process or behind an answer.</summary>
public static class Wait
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    /// <summary>Asks again and again until the answer is yes.</summary>
    /// <param name="what">What is waited for, in words.</param>
    /// <param name="condition">The question.</param>
    /// <exception cref="TimeoutException">The answer was no for a minute.</exception>
    public static async Task UntilAsync(string what, Func<Task<bool>> condition)
    {
        var began = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(began) > Limit)
                throw new TimeoutException($"Waited {Limit.TotalSeconds:F0} s, and still it is not so that {what}.");
            await Task.Delay(Interval);
        }
    }
}
