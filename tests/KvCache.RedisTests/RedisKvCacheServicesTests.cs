using KvCache.Client;
using KvCache.Redis;
using KvCache.Testing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCache.RedisTests;

/// <summary>Registration of the cache over a plain Redis.</summary>
public sealed class RedisKvCacheServicesTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Memory_before_a_Redis_is_a_cache_of_two_keys()
    {
        using var redis = RedisProcess.Start();
        await using var provider = new ServiceCollection()
            .AddKeyedLocalKvCache("memory", ByteSize.MiB(4))
            .AddKeyedRedisKvCache(
                "redis", Read(("Configuration", redis.Tcp), ("Encoding:Elements", "Float16"), ("FirstCallTimeout", "00:01:00")))
            .AddKeyedRedisKvCache("redis", options => options.Configuration = "nowhere:1") // the first one holds
            .AddTieredKvCache("memory", "redis")
            .BuildServiceProvider();
        var ns = new CacheNamespace { Tenant = "acme", Model = "tiny", Layout = KvLayout.Create(1, 1, 4, KvDataType.Float32, 1) };
        var prefix = KvPrefix.Of(ns, [1, 2]);
        var block = new byte[ns.Layout.BlockBytes];
        var stored = await provider.GetRequiredService<IKvCache>().StoreAsync(prefix, 0, [block, block], null, Token);
        Assert.Equal(2, stored.Stored);
        var cache = provider.GetRequiredKeyedService<RedisKvCache>("redis");
        Assert.Equal(2, (await cache.MatchAsync(prefix, default, Token)).Blocks);
        Assert.Equal(2, (await provider.GetRequiredKeyedService<LocalKvCache>("memory").MatchAsync(prefix, default, Token)).Blocks);
        Assert.Equal(
            ElementEncoding.Float16,
            provider.GetRequiredService<IOptionsMonitor<RedisKvCacheOptions>>().Get("redis").Encoding.Elements);
    }

    [Theory]
    [InlineData("KeyPrefix", "", "KeyPrefix is empty")]
    [InlineData("Encoding:Level", "99", "Encoding: ")]
    [InlineData("Configurration", "redis:6379", "Configurration is not a setting; perhaps Configuration was meant.")]
    [InlineData("DefaultTimeToLive", "3600", "DefaultTimeToLive is '3600'; a time was expected")] // ten years, to .NET
    [InlineData("Encoding:Compression", "17", "Encoding:Compression is '17'; None or GZip or Zstd or FloatPlanes was expected.")]
    public void Wrong_settings_are_told_at_start(string key, string value, string problem)
    {
        using var provider = new ServiceCollection().AddRedisKvCache(Read((key, value))).BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IStartupValidator>().Validate());
        Assert.Contains(problem, Assert.Single(error.Failures), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Null_is_told_everywhere()
    {
        await using var cache = new RedisKvCache(new RedisKvCacheOptions { Configuration = "127.0.0.1:1" });
        Assert.Empty(await NullArguments.FindAsync(
            typeof(RedisKvCache).Assembly, cache, new ServiceCollection(), new ConfigurationBuilder().Build(),
            (Action<RedisKvCacheOptions>)(_ => { })));
    }

    private static IConfigurationRoot Read(params (string Key, string? Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(values.ToDictionary(pair => pair.Key, pair => pair.Value)).Build();
}
