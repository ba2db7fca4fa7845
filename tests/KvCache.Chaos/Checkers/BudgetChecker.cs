using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>A silo uses no more memory than it was given: its arena, and a bounded rest for everything else.</summary>
internal sealed class BudgetChecker(Journal journal) : Checker(journal)
{
    public const string Name = "budget";

    /// <summary>Runtime, Orleans, code, index and connections of a small silo.</summary>
    public const long RestBytes = 448L << 20;

    private long _peakUsed, _peakRest;

    public override string Promise => Name;

    /// <summary>Most bytes of an arena, and of the rest of a process, that were seen.</summary>
    public (long Arena, long Other) Peak => (Volatile.Read(ref _peakUsed), Volatile.Read(ref _peakRest));

    public override void Sampled(in SiloSample sample)
    {
        var rest = sample.ResidentBytes - sample.ArenaBytes;
        _peakUsed = Math.Max(_peakUsed, sample.ArenaUsed);
        _peakRest = Math.Max(_peakRest, rest);
        if (sample.ArenaUsed > sample.ArenaBytes)
        {
            Broken(Stopwatch.GetTimestamp(),
                $"Silo {sample.Silo} uses {sample.ArenaUsed} bytes of an arena of {sample.ArenaBytes}.");
        }

        if (rest > RestBytes)
        {
            Broken(Stopwatch.GetTimestamp(),
                $"Silo {sample.Silo} takes {rest >> 20} MiB beside its arena; {RestBytes >> 20} MiB are allowed.");
        }
    }
}
