using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Chaos.Checkers;

namespace KvCache.Chaos.Reports;

/// <summary>What was seen of one fault, over all its rounds.</summary>
internal sealed record FaultRow(
    string Fault, int Rounds, long Calls, long VerifiedReads, long Wrong, long Resurrected, long Outlived, long Stale, long FailedCalls,
    double LastFailureSeconds, long Exceptions, double SlowestCallSeconds, double? RecoverySeconds, long OtherBreaches, string Note);

/// <summary>What a run has seen.</summary>
internal sealed record ChaosReport(
    long Seed, int Silos, string Network, DateTimeOffset Ended, double Seconds, int Cpus, IReadOnlyList<FaultRow> Rows,
    long PeakArenaBytes, long PeakOtherBytes, IReadOnlyDictionary<string, string> Skipped, IReadOnlyList<Breach> Breaches)
{
    /// <summary>Whether every promise was kept.</summary>
    [JsonIgnore]
    public bool IsGood => Breaches.Count == 0;

    /// <summary>Blocks and values that were read and compared.</summary>
    public long VerifiedReads => Rows.Sum(row => row.VerifiedReads);

    public static ChaosReport Of(
        ChaosSettings settings, Journal journal, IReadOnlyDictionary<string, string> skipped, string network, TimeSpan took)
    {
        var rows = journal.Phases.GroupBy(phase => phase.Name)
            .OrderBy(group => group.Key == "none" ? -1 : settings.Faults.ToList().IndexOf(group.Key))
            .Select(group => RowOf(group.Key, [.. group]));
        var (arena, rest) = journal.Checkers.OfType<BudgetChecker>().Single().Peak;
        return new ChaosReport(
            settings.Seed, settings.Silos, network, DateTimeOffset.UtcNow, took.TotalSeconds, Environment.ProcessorCount, [.. rows],
                arena, rest,
            skipped, journal.Breaches);
    }

    public string ToJson() => JsonSerializer.Serialize(this, ReportJsonContext.Default.ChaosReport);

    private static FaultRow RowOf(string name, Phase[] phases)
    {
        long Broken(string promise) => phases.Sum(phase => phase.Broken(promise));
        return new FaultRow(
            name,
            phases.Length,
            phases.Sum(phase => phase.Calls),
            phases.Sum(phase => phase.Verified),
            Broken(ContentChecker.Name),
            Broken(DeletionChecker.Name),
            Broken(LifeChecker.Name),
            Broken(StalenessChecker.Name),
            phases.Sum(phase => phase.Failed),
            phases.Max(phase => phase.LastFailure.TotalSeconds),
            Broken(ExceptionChecker.Name),
            phases.Max(phase => phase.Slowest.TotalSeconds),
            name == "none" || phases.Any(phase => phase.Recovery is null) ? null : phases.Max(phase => phase.Recovery!.Value.TotalSeconds),
            Broken(AvailabilityChecker.Name) + Broken(BudgetChecker.Name) + Broken(LogChecker.Name),
            phases[^1].Note);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(ChaosReport))]
internal sealed partial class ReportJsonContext : JsonSerializerContext;
