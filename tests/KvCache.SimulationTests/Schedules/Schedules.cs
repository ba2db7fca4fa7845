using System.Globalization;

namespace KvCache.Simulation;

/// <summary>Many schedules, on all cores.</summary>
internal static class Schedules
{
    /// <summary>Names one seed that is run alone.</summary>
    public const string SeedVariable = "KVCACHE_SIM_SEED";

    /// <summary>Says how many schedules are run.</summary>
    public const string CountVariable = "KVCACHE_SIM_SCHEDULES";

    private const int DefaultCount = 100_000;

    /// <summary>Seed that is asked for, or null.</summary>
    public static ulong? Seed => Environment.GetEnvironmentVariable(SeedVariable) is { Length: > 0 } text ? ulong.Parse(text, CultureInfo.InvariantCulture) : null;

    /// <summary>Schedules that are asked for.</summary>
    public static int Count => Environment.GetEnvironmentVariable(CountVariable) is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : DefaultCount;

    /// <summary>Runs the seeds from 1 on, each on a thread without a synchronization context: what a step sets off must run inside of it.</summary>
    /// <returns>The smallest seed found that breaks a rule, or null.</returns>
    public static ulong? FindFailure(int count, Mutation mutation = Mutation.None)
    {
        long next = 0;
        var failed = ulong.MaxValue;
        var found = new Lock();
        Exception? error = null;
        var threads = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(Work)).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        if (error is not null)
            throw new InvalidOperationException("A schedule has thrown.", error);
        return failed == ulong.MaxValue ? null : failed;

        void Work()
        {
            while (Interlocked.Increment(ref next) is var seed && seed <= count && Volatile.Read(ref failed) == ulong.MaxValue)
            {
                try
                {
                    if (Schedule.Run((ulong)seed, mutation) is null)
                        continue;
                }
                catch (Exception e)
                {
                    error = new InvalidOperationException($"Seed {seed}", e);
                }

                lock (found)
                    failed = Math.Min(failed, (ulong)seed);
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
