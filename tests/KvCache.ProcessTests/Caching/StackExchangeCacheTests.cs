using KvCache.ProcessTests.Caching;
using Microsoft.Extensions.DependencyInjection;

namespace KvCache.ProcessTests;

/// <summary>The usual package for Redis against a silo's Redis endpoint.</summary>
[Collection(typeof(CachingSilo))]
public sealed class StackExchangeCacheTests(CachingSilo silo) : DistributedCacheContract
{
    protected override void AddCache(IServiceCollection services) =>
        services.AddStackExchangeRedisCache(options => options.Configuration = silo.Process.Ready.Resp);
}
