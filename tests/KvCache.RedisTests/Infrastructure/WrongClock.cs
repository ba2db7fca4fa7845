namespace KvCache.RedisTests.Infrastructure;

/// <summary>A clock that goes right, but was set wrong.</summary>
internal sealed class WrongClock(TimeSpan ahead) : TimeProvider
{
    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + ahead;
}
