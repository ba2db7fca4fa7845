using System.Diagnostics;
using System.Runtime.ExceptionServices;

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
        return RunTogether(requests);
    }

    public void Dispose()
    {
        foreach (var lane in _lanes)
            lane.Dispose();
    }

    private TimeSpan RunTogether(int requests)
    {
        // Threads rather than tasks: a lane blocks, and a pool that grows by one thread per half second would be in the figure.
        Exception? failure = null;
        using var gate = new Barrier(_lanes.Count + 1);
        var threads = _lanes.Select(lane => new Thread(() =>
        {
            gate.SignalAndWait();
            try
            {
                lane.Run(requests);
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref failure, e, null);
            }
        })
        { IsBackground = true }).ToList();
        threads.ForEach(thread => thread.Start());
        gate.SignalAndWait();
        var start = Stopwatch.GetTimestamp();
        threads.ForEach(thread => thread.Join());
        var elapsed = Stopwatch.GetElapsedTime(start);
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
        return elapsed;
    }
}
