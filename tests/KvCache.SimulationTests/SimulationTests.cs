using System.Diagnostics;
using KvCache.SimulationTests.Model;
using KvCache.SimulationTests.Worlds;

namespace KvCache.SimulationTests;

public sealed class SimulationTests(ITestOutputHelper output)
{
    private const int MostReported = 8;

    // Few schedules have a life that matters and a silo that forgets it: the search begins near one that was found.
    private const int ForgottenLife = 3_600;

    [Fact]
    public void No_schedule_breaks_a_rule()
    {
        if (Schedules.Seed is { } seed)
        {
            var again = Schedules.Alone(() => Schedule.Explain(seed));
            Assert.True(again is null, again?.ToString());
            return;
        }

        var began = Stopwatch.GetTimestamp();
        var failures = Schedules.FindFailures(Schedules.Count, enough: MostReported);
        output.WriteLine($"{Schedules.Count} schedules in {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        if (failures.Count == 0)
            return;
        var first = Schedules.Alone(() => Schedule.Explain(failures.First().Key))?.ToString() ?? "It does not replay.";
        Assert.Fail(string.Join(Environment.NewLine, [first, .. failures.Select(failure => $"seed {failure.Key}: {failure.Value}")]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(77)]
    [InlineData(4711)]
    public void A_schedule_replays_step_by_step(int seed)
    {
        var first = Schedules.Alone(() => Schedule.TraceOf((ulong)seed));
        var second = Schedules.Alone(() => Schedule.TraceOf((ulong)seed));

        Assert.True(first.Count > Schedule.Length / 2);
        Assert.Equal(first, second);
    }

    [Theory]
    [MemberData(nameof(Mutations))]
    public void A_broken_rule_is_noticed(string name)
    {
        var mutation = Enum.Parse<Mutation>(name);

        var failures = Schedules.FindFailures(20_000, mutation, first: mutation == Mutation.ForgetsLives ? ForgottenLife : 1);

        Assert.NotEmpty(failures);
        var failure = Schedules.Alone(() => Schedule.Explain(failures.First().Key, mutation));
        Assert.NotNull(failure);
        output.WriteLine(failure.ToString());
    }

    public static TheoryData<string> Mutations => [.. Enum.GetNames<Mutation>().Where(name => name != nameof(Mutation.None))];
}
