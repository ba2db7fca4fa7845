using System.Diagnostics;
using KvCache.Bench.Measuring;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Mixed;

/// <summary>A lane whose requests are timed one by one.</summary>
internal sealed class TimedLane(ITransferLane lane) : IDisposable
{
    public LatencySamples Samples { get; } = new();

    public void RunOne()
    {
        var began = Stopwatch.GetTimestamp();
        lane.Run(1);
        Samples.Add(began);
    }

    public void Dispose() => lane.Dispose();
}
