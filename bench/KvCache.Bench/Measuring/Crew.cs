using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace KvCache.Bench.Measuring;

/// <summary>Several threads that do their work at the same time.</summary>
internal static class Crew
{
    /// <summary>Runs each piece of work on a thread of its own.</summary>
    /// <returns>Time from their common start until the last one ended.</returns>
    public static TimeSpan Run(IReadOnlyList<Action> work)
    {
        // Threads rather than tasks: they block, and a pool that grows by one thread per half second would be in the figure.
        Exception? failure = null;
        using var gate = new Barrier(work.Count + 1);
        var threads = work.Select(body => new Thread(() =>
        {
            gate.SignalAndWait();
            try
            {
                body();
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref failure, e, null);
            }
        })
        { IsBackground = true }).ToList();
        threads.ForEach(thread => thread.Start());
        gate.SignalAndWait();
        var start = Stopwatch.GetTimestamp();
        threads.ForEach(thread => thread.Join());
        var elapsed = Stopwatch.GetElapsedTime(start);
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
        return elapsed;
    }
}
