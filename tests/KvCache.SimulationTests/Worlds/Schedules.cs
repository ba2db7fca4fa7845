using System.Globalization;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <summary>Many schedules, on all cores.</summary>
internal static class Schedules
{
    /// <summary>Names one seed that is run alone.</summary>
    public const string SeedVariable = "KVCACHE_SIM_SEED";

    /// <summary>Says how many schedules are run.</summary>
    public const string CountVariable = "KVCACHE_SIM_SCHEDULES";

    private const int DefaultCount = 5_000;

    /// <summary>Seed that is asked for, or null.</summary>
    public static ulong? Seed =>
        Environment.GetEnvironmentVariable(SeedVariable) is { Length: > 0 } text ? ulong.Parse(text, CultureInfo.InvariantCulture) : null;

    /// <summary>Schedules that are asked for.</summary>
    public static int Count =>
        Environment.GetEnvironmentVariable(CountVariable) is { Length: > 0 } text
        ? int.Parse(text, CultureInfo.InvariantCulture)
        : DefaultCount;

    /// <summary>Runs seeds one after the other, each on a thread without a synchronization context: what a step sets off must run inside of
    /// it.</summary>
    /// <param name="count">Schedules to run.</param>
    /// <param name="mutation">What the model does wrong.</param>
    /// <param name="enough">Failures after which the rest is not run.</param>
    /// <param name="first">The first seed.</param>
    /// <returns>Seeds that break a rule, and the rules.</returns>
    public static SortedDictionary<ulong, string> FindFailures(int count, Mutation mutation = Mutation.None, int enough = 1, int first = 1)
    {
        long next = first - 1, last = next + count;
        var failures = new SortedDictionary<ulong, string>();
        var threads = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(Work)).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        return failures;

        void Work()
        {
            while (Interlocked.Increment(ref next) is var seed && seed <= last)
            {
                var broken = Schedule.Run((ulong)seed, mutation);
                if (broken is null)
                    continue;
                lock (failures)
                    failures.Add((ulong)seed, broken);
                if (failures.Count >= enough)
                    Interlocked.Exchange(ref next, last);
            }
        }
    }

    /// <summary>Runs something on a thread without a synchronization context.</summary>
    public static T Alone<T>(Func<T> run)
    {
        T result = default!;
        var thread = new Thread(() => result = run());
        thread.Start();
        thread.Join();
        return result;
    }
}
