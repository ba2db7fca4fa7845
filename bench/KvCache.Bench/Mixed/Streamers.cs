using System.Diagnostics;
using KvCache.Bench.Transfer;
using KvCache.Engine.Wire;

namespace KvCache.Bench.Mixed;

/// <summary>Clients that read large blocks as fast as they can, each on a thread of its own, until they are told to stop.</summary>
internal sealed class Streamers
{
    private readonly List<Thread> _threads;
    private readonly long _began = Stopwatch.GetTimestamp();
    private volatile bool _stopping;
    private volatile Exception? _failure;
    private long _requests;

    private Streamers(IEnumerable<ITransferLane> lanes)
    {
        _threads = [.. lanes.Select(lane => new Thread(() => Stream(lane)) { IsBackground = true })];
        _threads.ForEach(thread => thread.Start());
    }

    public static Streamers Start(IEnumerable<ITransferLane> lanes) => new(lanes);

    /// <summary>Ends them.</summary>
    /// <returns>Requests a second of all together.</returns>
    /// <exception cref="IOException">A request failed.</exception>
    public double Stop()
    {
        _stopping = true;
        _threads.ForEach(thread => thread.Join());
        if (_failure is { } failure)
            throw new IOException($"A client that streams failed: {failure.Message}", failure);
        return _requests / Stopwatch.GetElapsedTime(_began).TotalSeconds;
    }

    private void Stream(ITransferLane lane)
    {
        ThreadSlice.ForBulk(); // as the threads of a client
        try
        {
            while (!_stopping)
            {
                lane.Run(1);
                Interlocked.Increment(ref _requests);
            }
        }
        catch (Exception e)
        {
            _failure = e;
        }
    }
}
