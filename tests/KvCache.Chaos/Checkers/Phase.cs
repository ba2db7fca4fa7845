namespace KvCache.Chaos.Checkers;

/// <summary>A fault, from its beginning until the silos are whole again; or the time between two. What happened in it is counted.</summary>
internal sealed class Phase(string name, long began)
{
    private readonly Dictionary<string, long> _broken = [];
    private readonly Lock _lock = new();
    private long _calls, _verified, _failed, _slowest, _lastFailure;

    public string Name => name;

    public long Began => began;

    /// <summary>When the fault was there; null where there is none.</summary>
    public long? Injected { get; set; }

    /// <summary>How long after that calls may fail.</summary>
    public TimeSpan FailuresUntil { get; set; }

    /// <summary>Categories of a silo's log that may have errors.</summary>
    public IReadOnlyList<string> Errors { get; init; } = [];

    /// <summary>How long silos may not hear of one another.</summary>
    public TimeSpan StaleUntil { get; set; }

    /// <summary>How soon the silos have to be whole again, once the fault has ended; null where there is no fault.</summary>
    public TimeSpan? RecoveryLimit { get; init; }

    /// <summary>How long that took; null while they are not.</summary>
    public TimeSpan? Recovery { get; set; }

    /// <summary>Anything that is worth a word.</summary>
    public string Note { get; set; } = "";

    public long Calls => Volatile.Read(ref _calls);

    public long Verified => Volatile.Read(ref _verified);

    public long Failed => Volatile.Read(ref _failed);

    public TimeSpan Slowest => TimeSpan.FromTicks(Volatile.Read(ref _slowest));

    /// <summary>The last failed call, after the fault began.</summary>
    public TimeSpan LastFailure => TimeSpan.FromTicks(Volatile.Read(ref _lastFailure));

    public long Broken(string promise)
    {
        lock (_lock)
            return _broken.GetValueOrDefault(promise);
    }

    public void Break(string promise)
    {
        lock (_lock)
            _broken[promise] = _broken.GetValueOrDefault(promise) + 1;
    }

    public void Read() => Interlocked.Increment(ref _verified);

    public void Called(in CacheCall call)
    {
        Interlocked.Increment(ref _calls);
        if (call.HasFailed)
            Interlocked.Increment(ref _failed);
        Raise(ref _slowest, System.Diagnostics.Stopwatch.GetElapsedTime(call.Began, call.Ended));
    }

    public void FailedAt(TimeSpan late) => Raise(ref _lastFailure, late);

    private static void Raise(ref long known, TimeSpan time)
    {
        for (var old = Volatile.Read(ref known); time.Ticks > old; old = Volatile.Read(ref known))
            Interlocked.CompareExchange(ref known, time.Ticks, old);
    }
}
