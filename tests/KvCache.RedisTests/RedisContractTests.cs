using KvCache.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

/// <summary>The contract of all caches, for the one over a plain Redis.</summary>
public sealed class RedisContractTests : CacheContract
{
    private RedisProcess? _redis;

    protected override CacheCapabilities Capabilities => CacheCapabilities.Durability | CacheCapabilities.Shared;

    protected override ValueTask StartAsync()
    {
        _redis = RedisProcess.Start();
        return default;
    }

    protected override ValueTask EndAsync()
    {
        _redis?.Dispose();
        return default;
    }

    protected override IKvCache Create() => new RedisKvCache(new RedisKvCacheOptions { Configuration = _redis!.Tcp });
}
