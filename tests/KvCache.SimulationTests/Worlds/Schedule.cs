using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <summary>A rule that broke: which, when, and how to see it again.</summary>
/// <param name="Seed">Seed of the schedule.</param>
/// <param name="Message">The rule.</param>
/// <param name="Steps">Steps that are left when those are taken out that do not matter.</param>
/// <param name="Trace">What happens in those steps.</param>
internal sealed record Failure(ulong Seed, string Message, int Steps, IReadOnlyList<string> Trace)
{
    public override string ToString() => $"""
        {Message}
        Run it again with {Schedules.SeedVariable}={Seed}; the {Steps} steps that matter:
        {string.Join(Environment.NewLine, Trace)}
        """;
}

/// <summary>Runs schedules.</summary>
internal static class Schedule
{
    /// <summary>Steps of a schedule, before it comes to rest.</summary>
    public const int Length = 90;

    /// <summary>Runs the schedule of a seed.</summary>
    /// <returns>The rule that broke, or null.</returns>
    public static string? Run(ulong seed, Mutation mutation = Mutation.None) =>
        Run(seed, mutation, [.. Enumerable.Range(0, Length)], new Trace(kept: false));

    /// <summary>Runs the schedule of a seed, and if a rule breaks, looks for the steps that matter.</summary>
    /// <returns>What broke, or null.</returns>
    public static Failure? Explain(ulong seed, Mutation mutation = Mutation.None)
    {
        if (Run(seed, mutation) is not { } broken)
            return null;
        var steps = Enumerable.Range(0, Length).ToList();
        for (var shorter = true; shorter;)
        {
            // Every step has its own numbers, so that the others do the same without it as far as they can.
            shorter = false;
            for (var i = steps.Count - 1; i >= 0; i--)
            {
                var without = steps.Where((_, at) => at != i).ToList();
                if (Run(seed, mutation, without, new Trace(kept: false)) is not { } still || RuleOf(still) != RuleOf(broken))
                    continue;
                steps = without;
                shorter = true;
            }
        }

        var trace = new Trace(kept: true);
        var message = Run(seed, mutation, steps, trace);
        return new Failure(seed, message!, steps.Count, trace.Lines);
    }

    /// <summary>What happens in the schedule of a seed.</summary>
    public static IReadOnlyList<string> TraceOf(ulong seed)
    {
        var trace = new Trace(kept: true);
        Run(seed, Mutation.None, [.. Enumerable.Range(0, Length)], trace);
        return trace.Lines;
    }

    // Which silo, block or time it is may change when steps are left out.
    private static string RuleOf(string message) => string.Concat(message.Where(c => !char.IsAsciiDigit(c)));

    private static string? Run(ulong seed, Mutation mutation, IReadOnlyList<int> steps, Trace trace)
    {
        using var world = new World(seed, mutation, trace);
        try
        {
            foreach (var step in steps)
                world.Run(step);
            world.End();
            return null;
        }
        catch (BrokenRuleException e)
        {
            return e.Message;
        }
        catch (Exception e)
        {
            return $"it has thrown {e}";
        }
    }
}
