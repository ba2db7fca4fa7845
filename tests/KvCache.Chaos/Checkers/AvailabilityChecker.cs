using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>Calls fail for as short a time as the fault allows, and silos find each other again in seconds.</summary>
internal sealed class AvailabilityChecker(Journal journal) : Checker(journal)
{
    public const string Name = "availability";

    public override string Promise => Name;

    public override void Called(in CacheCall call)
    {
        if (!call.HasFailed || call.Exception is not null)
            return;
        var phase = Journal.PhaseAt(call.Began);
        if (phase.Injected is null)
            phase = Journal.PhaseAt(call.Ended); // it was under way when the fault began
        if (phase.Injected is not { } injected)
        {
            Broken(call.Began, $"{call.Kind} failed ({call.Reason}) although nothing was wrong.");
            return;
        }

        var late = Stopwatch.GetElapsedTime(injected, call.Began);
        phase.FailedAt(late);
        if (late > phase.FailuresUntil * MachineLoad.Scale)
        {
            Broken(call.Began,
                $"{call.Kind} that began {late.TotalSeconds:0.0} s after the fault failed ({call.Reason}); calls may fail for "
                + $"{phase.FailuresUntil.TotalSeconds:0.0} s.");
        }
    }

    public override void Ended(Phase phase)
    {
        if (phase.RecoveryLimit is not { } limit)
            return;
        if (phase.Recovery is not { } took)
            Broken(Stopwatch.GetTimestamp(), $"The silos did not find each other again: {phase.Note}");
        else if (took > limit * MachineLoad.Scale)
        {
            Broken(Stopwatch.GetTimestamp(),
                $"The silos were whole again after {took.TotalSeconds:0.0} s; {limit.TotalSeconds:0} s were promised.");
        }
    }
}
