using System.Buffers;
using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client;

/// <content>Values: bytes of any length under a name, for packages on top of this one.</content>
public sealed partial class KvCacheClient
{
    /// <summary>Tenant of this client.</summary>
    internal string Tenant => _options.Tenant;

    /// <summary>Reads a value. What is not complete and intact is not handed to the caller's memory.</summary>
    internal async ValueTask<LoadResult> LoadValueAsync(
        CacheNamespace ns, BlockHash name, ReceivedValue received, CancellationToken cancellationToken)
    {
        Check(cancellationToken);
        var budget = new CallBudget(_options.LoadTimeout, _options.SiloPatience, cancellationToken);
        var (reason, silo) = await budget.RunAsync(
            _silos.Homes, silo => silo.Data, connection => connection.GetValue(ns, name, received)).ConfigureAwait(false);
        var isLoaded = reason == MissReason.None;
        silo?.Loaded(isLoaded ? 1 : 0);
        var result = WithError(new LoadResult(isLoaded ? 1 : 0, reason), budget.Began);
        _meter.Loaded(result, 1, received.Length, budget.Began);
        return result;
    }

    /// <summary>Stores a value, in place of what is stored under its name.</summary>
    internal async ValueTask<StoreResult> StoreValueAsync(
        CacheNamespace ns, BlockHash name, ReadOnlySequence<byte> value, ReadOnlyMemory<byte> label, StoreOptions options,
        CancellationToken cancellationToken)
    {
        Check(cancellationToken);
        var budget = new CallBudget(_options.StoreTimeout, _options.SiloPatience, cancellationToken);
        var result = default(StoreResult);
        var (reason, silo) = await budget.RunAsync(
            _silos.Homes,
            silo => silo.Data,
            connection =>
            {
                result = default(StoreResult).With(connection.PutValue(ns, name, value, label.Span, options));
                return MissReason.None;
            }).ConfigureAwait(false);
        silo?.Stored(result.Stored);
        result = result with { Reason = reason, Error = _silos.Failure.Of(reason, budget.Began) };
        _meter.DidStore(result, 1, (int)value.Length, budget.Began);
        return result;
    }
}
