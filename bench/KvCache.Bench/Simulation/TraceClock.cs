namespace KvCache.Bench.Simulation;

/// <summary>The clock of a trace: it stands until the next request.</summary>
internal sealed class TraceClock : TimeProvider
{
    public long Milliseconds { get; set; }

    public override long TimestampFrequency => 1000;

    public override long GetTimestamp() => Milliseconds;
}
