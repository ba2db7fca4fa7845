using KvCache.Grains.Prefixes;
using KvCache.Silo.Tiers.Redis;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace KvCache.Silo.Tiers.Descriptors;

/// <summary>
/// Grain state in Redis beside the payloads: the provider's storage behind the tier's circuit breaker, with the life of the payload
/// instead of one life for all.
/// </summary>
/// <remarks>
/// A descriptor is written when its payload is. It gets the provider's <c>EntryExpiry</c> first, so that it does not stay for ever
/// when the silo ends before the next step, and then the rest of the payload's life.
/// </remarks>
internal sealed class RedisDescriptorStorage(IGrainStorage provider, RedisTier tier) : IGrainStorage
{
    /// <summary>Name of the storage behind this one.</summary>
    public const string ProviderName = PrefixDescriptor.StorageName + "-redis";

    public Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        ThrowIfAway();
        SealedDescriptors.Name(KeyOf(grainId));
        return WatchAsync(provider.ReadStateAsync(stateName, grainId, grainState));
    }

    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        ThrowIfAway();
        SealedDescriptors.Name(KeyOf(grainId));
        await WatchAsync(provider.WriteStateAsync(stateName, grainId, grainState)).ConfigureAwait(false);
        await tier.AlignDescriptorAsync(KeyOf(grainId)).ConfigureAwait(false);
    }

    public Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        ThrowIfAway();
        return WatchAsync(provider.ClearStateAsync(stateName, grainId, grainState));
    }

    /// <summary>The block of a prefix grain.</summary>
    /// <exception cref="ArgumentException">It is another grain.</exception>
    public static BlockKey KeyOf(GrainId grain) => BlockKey.TryParseGrainKey(grain.Key.ToString() ?? "", out var key)
        ? key
        : throw new ArgumentException($"{grain} is not a prefix grain; this storage keeps nothing else.", nameof(grain));

    // What its client is told of the server is true for the tier's own connections too.
    private async Task WatchAsync(Task call)
    {
        try
        {
            await call.ConfigureAwait(false);
        }
        catch (Exception e) when (RedisException.IsOther(e.GetBaseException().Message.Split(' ', 2)[0]))
        {
            tier.NotTheServer(e.GetBaseException().Message);
            throw;
        }
    }

    // The provider's client would wait, or fail, for every call on its own.
    private void ThrowIfAway()
    {
        if (tier.IsOpen)
            throw new RedisException(RedisFailure.Unreachable, $"Redis is left alone, as it failed: {tier.LastError}");
    }
}
