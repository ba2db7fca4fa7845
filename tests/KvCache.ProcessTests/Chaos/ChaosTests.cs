using KvCache.Chaos;
using KvCache.Chaos.Faults;
using KvCache.Chaos.Fuzz;
using KvCache.Chaos.Load;
using KvCache.Chaos.Reports;
using KvCache.Chaos.Worlds;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Some rounds of tests/KvCache.Chaos: whichever fault there is, every byte is right, and the silos are whole again in
/// seconds.</summary>
[Collection(typeof(Apart))]
public sealed class ChaosTests
{
    // What takes seconds and needs no root; the others have their turn in the long form.
    private static readonly string[] Short = ["kill", "freeze", "redis-restart", "reset", "pressure"];

    [Fact]
    public async Task Whatever_goes_wrong_for_a_moment_every_promise_is_kept()
    {
        Assert.SkipUnless(ChaosRedis.IsInstalled, "There is no redis-server on PATH.");

        await MustKeepPromisesAsync(new ChaosSettings { Faults = Short, Load = new WorkloadSettings(Pace: TimeSpan.FromMilliseconds(4)) });
    }

    [Fact]
    [Trait("run", "long")]
    public async Task Whatever_goes_wrong_for_an_hour_every_promise_is_kept()
    {
        Assert.SkipUnless(ChaosRedis.IsInstalled, "There is no redis-server on PATH.");

        await MustKeepPromisesAsync(new ChaosSettings { Faults = FaultCatalogue.Names, Duration = TimeSpan.FromHours(1) });
    }

    [Fact]
    public async Task Whatever_arrives_is_answered_or_refused_in_the_words_of_its_protocol()
    {
        var report = await FuzzRun.RunAsync(100_000, 5_000, seed: 1, Report.Line, TestContext.Current.CancellationToken);

        Assert.Empty(report.Rows.SelectMany(row => row.Failures));
        Assert.InRange(report.Inputs, 100_000, long.MaxValue);
    }

    private static async Task MustKeepPromisesAsync(ChaosSettings settings)
    {
        var report = await ChaosRun.RunAsync(settings, Report.Line, TestContext.Current.CancellationToken);

        Report.Line(report.ToJson());
        Assert.Empty(report.Breaches);
        Assert.All(report.Rows, row => Assert.True(row.Fault == "none" || row.RecoverySeconds is not null, $"{row.Fault} never ended."));
        Assert.InRange(report.VerifiedReads, 1_000, long.MaxValue);
    }
}
