namespace KvCache.SimulationTests.Engine;

/// <summary>The time of a schedule, which stands still while a step runs.</summary>
internal sealed class VirtualTime
{
    public static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public DateTimeOffset Now { get; private set; } = Start;

    public TimeSpan Elapsed => Now - Start;

    public void Advance(TimeSpan by) => Now += by;
}

/// <summary>The clock of one machine: it goes right, but it was set wrong.</summary>
internal sealed class SkewedClock(VirtualTime time, TimeSpan skew) : TimeProvider
{
    private readonly List<SteppedTimer> _timers = [];

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public TimeSpan Skew => skew;

    public override DateTimeOffset GetUtcNow() => time.Now + skew;

    public override long GetTimestamp() => time.Elapsed.Ticks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new SteppedTimer(() => callback(state));
        _timers.Add(timer);
        return timer;
    }

    /// <summary>Lets all timers of the machine run once.</summary>
    public void Tick() => _timers.ForEach(timer => timer.Run());

    private sealed class SteppedTimer(Action run) : ITimer
    {
        public void Run() => run();

        public bool Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => default;
    }
}
