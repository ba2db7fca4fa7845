using System.Diagnostics;

namespace KvCache.Bench.Mixed;

/// <summary>
/// One inference node's traffic on one thread: of ten requests five match a prompt, four get a block and one puts a new block, in random
/// order.
/// Each kind has a connection of its own, as in the client.
/// </summary>
internal sealed class MixedClient(TimedLane match, TimedLane get, TimedLane put, int seed) : IDisposable
{
    private readonly Random _random = new(seed);

    /// <summary>The lanes by kind.</summary>
    public TimedLane Match => match;

    public TimedLane Get => get;

    public TimedLane Put => put;

    public void Run(TimeSpan duration)
    {
        var start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < duration)
        {
            var lane = _random.Next(10) switch
            {
                < 5 => match,
                < 9 => get,
                _ => put,
            };
            lane.RunOne();
        }
    }

    public void Dispose()
    {
        match.Dispose();
        get.Dispose();
        put.Dispose();
    }
}
