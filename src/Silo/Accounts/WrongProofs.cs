using System.Net;
using KvCache.Silo.Connections;
using KvCache.Silo.Options;

namespace KvCache.Silo.Accounts;

/// <summary>
/// Makes who guesses wait: the answer to a wrong proof comes the later, the more wrong ones have come from its address or for its tenant
/// lately. A right proof never waits. What is remembered is bounded, and forgotten after a quiet minute.
/// </summary>
internal sealed class WrongProofs(TimeProvider time)
{
    /// <summary>Wrong proofs that are answered at once: a mistyped secret is no attack.</summary>
    public const int Free = 3;

    private const int MaxRemembered = 4096;
    private static readonly TimeSpan Memory = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest wait; it is over before <see cref="ConnectionOptions.HandshakeTimeout"/>'s default is.</summary>
    public static TimeSpan Longest { get; } = TimeSpan.FromSeconds(2);

    private readonly Lock _lock = new();
    private readonly Dictionary<string, (int Count, long Last)> _failures = new(StringComparer.Ordinal);

    /// <summary>Takes notice of a wrong proof.</summary>
    /// <returns>How long its answer has to wait.</returns>
    public TimeSpan Failed(IPAddress? address, string tenant)
    {
        var origin = UnprovenConnections<object>.OriginOf(address).ToString();
        lock (_lock)
        {
            var count = Math.Max(Count("address " + origin), Count("tenant " + tenant));
            return count <= Free
                ? TimeSpan.Zero
                : TimeSpan.FromTicks(Math.Min(Longest.Ticks, First.Ticks << Math.Min(count - Free - 1, 16)));
        }
    }

    private int Count(string who)
    {
        var now = time.GetTimestamp();
        var known = _failures.TryGetValue(who, out var failures) && time.GetElapsedTime(failures.Last, now) < Memory;
        if (_failures.Count >= MaxRemembered && !known)
            Forget(now);
        var count = known ? failures.Count + 1 : 1;
        _failures[who] = (count, now);
        return count;
    }

    private void Forget(long now)
    {
        foreach (var (who, failures) in _failures)
        {
            if (time.GetElapsedTime(failures.Last, now) >= Memory)
                _failures.Remove(who);
        }

        if (_failures.Count >= MaxRemembered)
            _failures.Clear(); // more addresses than anybody has in good faith: each of them starts anew
    }
}
