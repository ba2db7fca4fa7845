using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using System.Text.Json;
using KvCache.Wire;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace KvCache.Client;

/// <summary>
/// The cache of a silo, over its data plane. Thread-safe; one instance serves a whole process.
/// </summary>
/// <remarks>
/// Bytes move on threads of this client straight between the socket and the caller's memory. Every call has a deadline
/// (<see cref="KvCacheClientOptions"/>); a silo that fails several times in a row is left alone for a while.
/// </remarks>
public sealed class KvCacheClient : IKvCache
{
    private readonly KvCacheClientOptions _options;
    private readonly SiloConnector[] _silos;
    private readonly CacheMeter _meter = new();

    /// <summary>Creates a client. Nothing is connected before the first call or <see cref="ConnectAsync"/>.</summary>
    /// <param name="options">Settings; not changed afterwards.</param>
    /// <param name="loggers">Where to log; null for nowhere.</param>
    /// <exception cref="ValidationException">A setting is out of its bounds.</exception>
    public KvCacheClient(KvCacheClientOptions options, ILoggerFactory? loggers = null)
    {
        Validator.ValidateObject(options, new ValidationContext(options), validateAllProperties: true);
        _options = options;
        var logger = (loggers ?? NullLoggerFactory.Instance).CreateLogger<KvCacheClient>();
        _silos = [.. options.Endpoints.Select(endpoint => new SiloConnector(SiloEndpoint.TryParse(endpoint)!, options, logger))];
    }

    /// <summary>Connects now, to find out at start whether the settings are right.</summary>
    /// <returns>Whether a silo answered; when not, the client goes on trying with every call.</returns>
    /// <exception cref="SiloException">A silo refused this client for its version, tenant or secret.</exception>
    public async ValueTask<bool> ConnectAsync(CancellationToken cancellationToken = default)
    {
        foreach (var silo in _silos)
        {
            using var call = new SiloCall(static _ => MissReason.None, _options.LoadTimeout, cancellationToken);
            var reason = await silo.Control.RunAsync(call).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            if (call.ConfigurationError is { } error)
                throw error;
            if (reason == MissReason.None)
                return true;
        }

        return false;
    }

    /// <inheritdoc/>
    public async ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        var began = Stopwatch.GetTimestamp();
        var blocks = Math.Min(prefix.BlockCount, WireProtocol.MaxBlocksPerRequest);
        if (blocks == 0)
            return new CacheMatch(0, prefix.Chain.TokensPerBlock, MissReason.None);
        var found = 0;
        ulong holdId = 0;
        BlockConnection? holder = null;
        var (reason, silo) = await RunAsync(
            silo => silo.Control,
            connection =>
            {
                (found, holdId) = connection.Match([prefix.Namespace], prefix.Chain.Hashes[..blocks], hold);
                holder = connection;
                return found == prefix.BlockCount ? MissReason.None : MissReason.Absent;
            },
            _options.MatchTimeout,
            cancellationToken).ConfigureAwait(false);
        _meter.Matched(found, prefix.BlockCount, reason, began);
        return new CacheMatch(found, prefix.Chain.TokensPerBlock, reason, holdId == 0 ? null : () => ReleaseAsync(silo!, holder!, holdId));
    }

    /// <inheritdoc/>
    public async ValueTask<LoadResult> LoadAsync(KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CancellationToken cancellationToken = default)
    {
        var range = layers ?? prefix.Namespace.Layout.AllLayers;
        BlockArguments.CheckLoad(prefix, firstBlock, destinations, range);
        if (destinations.Count == 0)
            return default;
        var began = Stopwatch.GetTimestamp();
        var delivered = 0;
        var (reason, _) = await RunAsync(
            silo => silo.Data,
            connection =>
            {
                var reason = MissReason.None;
                while (delivered < destinations.Count && reason == MissReason.None)
                {
                    var count = Math.Min(destinations.Count - delivered, WireProtocol.MaxBlocksPerRequest);
                    var hashes = prefix.Chain.Hashes.Slice(firstBlock + delivered, count);
                    reason = connection.Get(prefix.Namespace, hashes, range, destinations, delivered, localOnly: false, ref delivered);
                }

                return reason;
            },
            _options.LoadTimeout,
            cancellationToken).ConfigureAwait(false);
        var result = new LoadResult(delivered, reason);
        _meter.Loaded(result, destinations.Count, prefix.Namespace.Layout.RangeBytes(range), began);
        return result;
    }

    /// <inheritdoc/>
    public async ValueTask<StoreResult> StoreAsync(KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckStore(prefix, firstBlock, blocks);
        if (blocks.Count == 0)
            return default;
        var began = Stopwatch.GetTimestamp();
        var result = default(StoreResult);
        var done = 0;
        var (reason, _) = await RunAsync(
            silo => silo.Data,
            connection =>
            {
                while (done < blocks.Count)
                {
                    var count = Math.Min(blocks.Count - done, WireProtocol.MaxBlocksPerRequest);
                    var hashes = prefix.Chain.Hashes.Slice(firstBlock + done, count);
                    var (stored, _) = connection.Match([prefix.Namespace], hashes, TimeSpan.Zero);
                    result = result with { AlreadyStored = result.AlreadyStored + stored };
                    done += stored;
                    if (stored == count)
                        continue;
                    var depth = firstBlock + done;
                    var parent = depth == 0 ? default : prefix.Chain.Hashes[depth - 1];
                    foreach (var outcome in connection.Put(prefix.Namespace, hashes[stored..], parent, depth, blocks, done, options ?? Defaults).Outcomes)
                        result = result.With(outcome);
                    done += count - stored;
                }

                return MissReason.None;
            },
            _options.StoreTimeout,
            cancellationToken).ConfigureAwait(false);
        result = result with { Reason = reason };
        _meter.DidStore(result, prefix.Namespace.Layout.BlockBytes, began);
        return result;
    }

    /// <inheritdoc/>
    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default) =>
        CountAsync(prefix, (connection, hashes) => connection.Pin(prefix.Namespace, hashes, duration), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<int> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default) =>
        CountAsync(prefix, (connection, hashes) => connection.Delete(prefix.Namespace, hashes), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        byte[]? json = null;
        await RunAsync(
            silo => silo.Control,
            connection =>
            {
                json = connection.Stat();
                return MissReason.None;
            },
            _options.MatchTimeout,
            cancellationToken).ConfigureAwait(false);
        var statistics = _meter.Snapshot(memoryBytes: 0);
        if (json is null)
            return statistics;
        using var document = JsonDocument.Parse(json);
        return statistics with { Silo = document.RootElement.Clone() };
    }

    /// <summary>Ends all connections. Calls that are running end with a miss.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var silo in _silos)
            await silo.DisposeAsync().ConfigureAwait(false);
    }

    private static StoreOptions Defaults { get; } = new();

    private async ValueTask<int> CountAsync(KvPrefix prefix, Func<BlockConnection, ReadOnlySpan<BlockHash>, int> call, CancellationToken cancellationToken)
    {
        var count = 0;
        await RunAsync(
            silo => silo.Control,
            connection =>
            {
                for (var done = 0; done < prefix.BlockCount; done += WireProtocol.MaxBlocksPerRequest)
                    count += call(connection, prefix.Chain.Hashes.Slice(done, Math.Min(prefix.BlockCount - done, WireProtocol.MaxBlocksPerRequest)));
                return MissReason.None;
            },
            _options.LoadTimeout,
            cancellationToken).ConfigureAwait(false);
        return count;
    }

    // The hold lives on the connection that made it; when that is gone, so is the hold.
    private async ValueTask ReleaseAsync(SiloConnector silo, BlockConnection holder, ulong holdId)
    {
        using var call = new SiloCall(
            connection =>
            {
                if (ReferenceEquals(connection, holder))
                    connection.Release(holdId);
                return MissReason.None;
            },
            _options.MatchTimeout,
            CancellationToken.None);
        await silo.Control.RunAsync(call).ConfigureAwait(false);
    }

    // Tries the silos in the order of preference; progress that a body has made stays.
    private async ValueTask<(MissReason Reason, SiloConnector? Silo)> RunAsync(
        Func<SiloConnector, ConnectionLanes> lanes,
        Func<BlockConnection, MissReason> body,
        TimeSpan timeout,
        CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var began = Stopwatch.GetTimestamp();
        foreach (var silo in _silos)
        {
            var left = timeout - Stopwatch.GetElapsedTime(began);
            if (left <= TimeSpan.Zero)
                return (MissReason.Deadline, null);
            using var call = new SiloCall(body, left, cancellationToken);
            var reason = await lanes(silo).RunAsync(call).ConfigureAwait(false);
            if (reason is MissReason.None or MissReason.Absent or MissReason.Corrupt)
                return (reason, silo);
            cancellationToken.ThrowIfCancellationRequested();
            if (reason != MissReason.Unavailable || ReferenceEquals(silo, _silos[^1]))
                return (reason, null);
        }

        return (MissReason.Unavailable, null);
    }
}
