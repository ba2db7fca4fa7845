using KvCache.Grains.Prefixes;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Hosting;
using Orleans.Persistence;
using Orleans.Storage;
using StackExchange.Redis;

namespace KvCache.Silo.Tiers.Descriptors;

/// <summary>Registration of grain state.</summary>
internal static class RedisStorageServices
{
    /// <summary>
    /// Adds the grain storage named <see cref="PrefixDescriptor.StorageName"/>: in Redis where <c>KvCache:Redis:ConnectionString</c> is
    /// set, beside the payloads and under the same key prefix, else in memory. The former needs the <see cref="RedisTier"/> (<see
    /// cref="RedisTierServices.AddRedisTier"/>).
    /// </summary>
    /// <param name="silo">The silo.</param>
    /// <param name="configuration">Configuration with the section <c>KvCache</c>.</param>
    public static ISiloBuilder AddKvCacheRedisStorage(this ISiloBuilder silo, IConfiguration configuration)
    {
        if (string.IsNullOrEmpty(configuration[$"{RedisTierOptions.Section}:{nameof(RedisTierOptions.ConnectionString)}"]))
            return silo.AddMemoryGrainStorage(
                PrefixDescriptor.StorageName, options => options.GrainStorageSerializer = new PrefixDescriptorSerializer());
        silo.AddRedisGrainStorage(
            RedisDescriptorStorage.ProviderName, options =>
            options.Configure<IOptions<RedisTierOptions>, RedisTier, FollowingRedis, RedisTierCounters>(
            (storage, options, tier, redis, counters) => Configure(storage, options.Value, tier, redis, counters)));
        silo.Services.AddSingleton(services => new FollowingRedis(
            services.GetRequiredService<RedisTier>(), services.GetRequiredService<IOptions<RedisTierOptions>>().Value));
        silo.Services.AddKeyedSingleton<IGrainStorage>(PrefixDescriptor.StorageName, static (services, _) => new RedisDescriptorStorage(
            services.GetRequiredKeyedService<IGrainStorage>(RedisDescriptorStorage.ProviderName),
                services.GetRequiredService<RedisTier>()));
        return silo;
    }

    private static void Configure(
        RedisStorageOptions storage, RedisTierOptions options, RedisTier tier, FollowingRedis redis, RedisTierCounters counters)
    {
        var names = new RedisKeySpace(options.KeyPrefix);
        storage.ConfigurationOptions = new ConfigurationOptions(); // asked for, and not used: the client comes from here
        storage.CreateMultiplexer = async _ =>
        {
            await redis.ConnectAsync().ConfigureAwait(false);
            return (redis.Client, true);
        };
        storage.GrainStorageSerializer = tier.Keys is { } keys
            ? new SealedDescriptors(new PrefixDescriptorSerializer(), keys, counters)
            : new PrefixDescriptorSerializer();
        storage.DeleteStateOnClear = true;

        // Whole seconds, or the provider's EXPIRE fails.
        storage.EntryExpiry = options.DefaultTimeToLive > TimeSpan.Zero
            ? TimeSpan.FromSeconds(Math.Ceiling(options.DefaultTimeToLive.TotalSeconds))
            : null;
        storage.GetStorageKey = (_, grain) =>
        {
            var key = new byte[names.DescriptorKeyBytes];
            names.WriteDescriptor(RedisDescriptorStorage.KeyOf(grain), key);
            return key;
        };
    }
}
