using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>Nothing is read behind the end of its life.</summary>
internal sealed class LifeChecker(Journal journal) : Checker(journal)
{
    public const string Name = "outlived";

    /// <summary>
    /// Copies get what is left of a life when they are made, so that each way from silo to silo may add its time
    /// (<c>KvCache:Cluster:FetchTimeout</c> at most, milliseconds as a rule).
    /// </summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromSeconds(1);

    public override string Promise => Name;

    public override void Read(in BlockRead read)
    {
        if (read.Before.Ends.TryGetValue(read.Version, out var end) && !read.Entry.State.Uncertain.Contains(read.Version)
            && Stopwatch.GetElapsedTime(end, read.Began) is var late && late > Tolerance * MachineLoad.Scale)
            Broken(read.Began, $"Read {late.TotalSeconds:0.0} s behind the end of its life: {read}.");
    }
}
