using System.Diagnostics;
using KvCache.Bench.Measuring;

namespace KvCache.Bench.Transfer;

/// <summary>The open lanes of one contender in one case, run together.</summary>
internal sealed class LaneSet : IDisposable
{
    private readonly IReadOnlyList<ITransferLane> _lanes;

    private LaneSet(IReadOnlyList<ITransferLane> lanes) => _lanes = lanes;

    public int Count => _lanes.Count;

    /// <summary>Opens one lane per element; when one cannot be opened, those before it are closed.</summary>
    public static LaneSet Open(IReadOnlyList<LaneBuffers> buffers, Func<LaneBuffers, ITransferLane> open)
    {
        var lanes = new List<ITransferLane>(buffers.Count);
        try
        {
            foreach (var buffer in buffers)
                lanes.Add(open(buffer));
            return new LaneSet(lanes);
        }
        catch
        {
            lanes.ForEach(lane => lane.Dispose());
            throw;
        }
    }

    /// <summary>Runs so many requests on each lane and returns the time until the slowest lane ended.</summary>
    public TimeSpan Run(int requests)
    {
        if (_lanes.Count == 1)
        {
            var start = Stopwatch.GetTimestamp();
            _lanes[0].Run(requests);
            return Stopwatch.GetElapsedTime(start);
        }
        return Crew.Run([.. _lanes.Select(lane => (Action)(() => lane.Run(requests)))]);
    }

    public void Dispose()
    {
        foreach (var lane in _lanes)
            lane.Dispose();
    }
}
