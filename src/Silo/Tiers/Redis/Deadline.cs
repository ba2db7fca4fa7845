using System.Diagnostics;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>A moment on the monotonic clock by which something has to be over.</summary>
internal readonly struct Deadline
{
    private readonly long _at;

    private Deadline(long at) => _at = at;

    public static Deadline After(TimeSpan time) => new(Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency));

    public bool Passed => Stopwatch.GetTimestamp() >= _at;

    /// <summary>Time until then; zero when it has passed.</summary>
    public TimeSpan Left
    {
        get
        {
            var left = _at - Stopwatch.GetTimestamp();
            return left <= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds((double)left / Stopwatch.Frequency);
        }
    }

    public Deadline OrSooner(Deadline other) => other._at < _at ? other : this;
}
