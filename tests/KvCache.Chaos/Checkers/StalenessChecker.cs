using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>
/// A value that was replaced is not read for long: other silos follow when they hear of it, or stop serving when they hear nobody. Two that
/// do not hear each other, and hear a third one, serve on: a fault says how long that may be.
/// </summary>
internal sealed class StalenessChecker(Journal journal) : Checker(journal)
{
    public const string Name = "stale";

    /// <summary><c>KvCache:Cluster:CutOffLimit</c>, past which a silo that hears nothing serves nothing, and a second.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromSeconds(4);

    public override string Promise => Name;

    public override void Read(in BlockRead read)
    {
        if (read.Version > 0 && read.Version < read.Before.Acknowledged && !read.Entry.State.Uncertain.Contains(read.Version)
            && Stopwatch.GetElapsedTime(read.Before.AcknowledgedAt, read.Began) is var age
            && age > (Tolerance + Journal.PhaseAt(read.Began).StaleUntil) * MachineLoad.Scale)
        {
            Broken(read.Began,
                $"Replaced {age.TotalSeconds:0.0} s ago, and still read: {read}; version {read.Before.Acknowledged} was acknowledged.");
        }
    }
}
