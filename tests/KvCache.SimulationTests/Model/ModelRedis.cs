using KvCache.Silo.Tiers.Payloads;

namespace KvCache.SimulationTests.Model;

/// <summary>A payload in Redis.</summary>
internal sealed record Payload(PayloadHeader Header, byte[] Bytes, uint[] Checksums)
{
    /// <summary>What was left of its life when it was asked for.</summary>
    public TimeSpan Left { get; init; }
}

/// <summary>A Redis: single-threaded, with a clock of its own; it can be away, and it can lose everything.</summary>
internal sealed class ModelRedis(TimeProvider clock)
{
    /// <summary>Its number among the nodes.</summary>
    public const int Node = 99;

    private readonly Dictionary<BlockKey, (Payload Payload, DateTimeOffset Until)> _values = [];

    /// <summary>It answers nothing.</summary>
    public bool IsAway { get; set; }

    public IEnumerable<BlockKey> Keys => _values.Keys.Where(key => Find(key) is not null);

    public void Set(Payload payload, TimeSpan life)
    {
        Answer();
        _values[payload.Header.Key] = (payload, clock.GetUtcNow() + life);
    }

    /// <summary>Changes the end of a life, in the payload too.</summary>
    public bool Expire(BlockKey key, TimeSpan left, long expiresAt)
    {
        Answer();
        if (Find(key) is not { } payload)
            return false;
        _values[key] = (payload with { Header = payload.Header with { ExpiresAt = expiresAt } }, clock.GetUtcNow() + left);
        return true;
    }

    public Payload? Get(BlockKey key)
    {
        Answer();
        return Find(key) is { } payload ? payload with { Left = _values[key].Until - clock.GetUtcNow() } : null;
    }

    public void Unlink(IEnumerable<BlockKey> keys)
    {
        Answer();
        foreach (var key in keys)
            _values.Remove(key);
    }

    /// <summary>It was flushed, or restarted without a disk.</summary>
    public void Lose() => _values.Clear();

    /// <summary>What it has, whether it answers or not.</summary>
    public Payload? Find(BlockKey key) => _values.TryGetValue(key, out var value) && value.Until > clock.GetUtcNow() ? value.Payload : null;

    private void Answer()
    {
        if (IsAway)
            throw new TimeoutException("Redis is away");
    }
}
