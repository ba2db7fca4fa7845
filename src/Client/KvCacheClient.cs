using System.Diagnostics;
using System.Text.Json;
using KvCache.Caching;
using KvCache.Client.Caching;
using KvCache.Client.Cluster;
using KvCache.Client.Connections;
using KvCache.Client.SharedMemory;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.Client;

/// <summary>
/// The cache of a silo or a cluster of silos, over their data planes. Thread-safe; one instance serves a whole process.
/// </summary>
/// <remarks>
/// <para>
/// The first endpoint that answers is the home silo. It knows what the cluster holds, keeps what is stored, and answers loads of what it
/// holds itself; other blocks are read straight from the silos that hold them, several at a time.
/// </para>
/// <para>
/// Bytes move on threads of this client straight between the socket and the caller's memory. Every call has a deadline
/// (<see cref="KvCacheClientOptions"/>); a silo that stands still is given up for another one before it, and one that fails several times
/// in a row is left alone for a while.
/// </para>
/// </remarks>
public sealed partial class KvCacheClient : IKvCache
{
    private readonly KvCacheClientOptions _options;
    private readonly SiloDirectory _silos;
    private readonly CacheMeter _meter = new("silo");
    private volatile bool _locatesFirst; // what the last load found
    private volatile bool _hasMatched;
    private volatile bool _disposed;

    /// <summary>Creates a client. Nothing is connected before the first call, <see cref="WarmUp"/> or <see cref="ConnectAsync"/>.</summary>
    /// <param name="options">Settings; not changed afterwards.</param>
    /// <param name="loggers">Where to log; null for nowhere.</param>
    /// <exception cref="OptionsValidationException">A setting is out of its bounds.</exception>
    public KvCacheClient(KvCacheClientOptions options, ILoggerFactory? loggers = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Validate() is { Count: > 0 } failures)
            throw new OptionsValidationException(Microsoft.Extensions.Options.Options.DefaultName, typeof(KvCacheClientOptions), failures);
        _options = options;
        _silos = new SiloDirectory(options, (loggers ?? NullLoggerFactory.Instance).CreateLogger<KvCacheClient>());
    }

    /// <inheritdoc/>
    /// <remarks>What a silo without Redis is told to persist stays in its memory.</remarks>
    public CacheCapabilities Capabilities =>
        CacheCapabilities.Hold | CacheCapabilities.Pin | CacheCapabilities.Follow | CacheCapabilities.LoadLayers
        | CacheCapabilities.StoreLayers | CacheCapabilities.Hints | CacheCapabilities.Durability | CacheCapabilities.Replicas
        | CacheCapabilities.Shared;

    /// <summary>Calls of a silo that broke, were refused or were given up, so far: also those that another silo answered.</summary>
    internal long Failures => _silos.All.Sum(silo => silo.Failures);

    /// <summary>Connects now, to find out at start whether the settings are right.</summary>
    /// <returns>Whether a silo answered; when not, the client goes on trying with every call.</returns>
    /// <exception cref="SiloException">A silo refused this client for its version, tenant or secret.</exception>
    /// <exception cref="ObjectDisposedException">The client is disposed.</exception>
    public async ValueTask<bool> ConnectAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        foreach (var silo in _silos.Configured)
        {
            using var call = new SiloCall(static _ => MissReason.None, _options.LoadTimeout, cancellationToken) { Insists = true };
            var reason = await silo.Control.RunAsync(call).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            if (call.ConfigurationError is { } error)
                throw error;
            if (reason == MissReason.None)
                return true;
        }

        return false;
    }

    /// <summary>Begins to connect, for matches and for bytes, so that the first call need not wait for it. Returns at once; what fails is
    /// tried again by the calls that need it.</summary>
    /// <exception cref="ObjectDisposedException">The client is disposed.</exception>
    public void WarmUp()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _ = Task.Run(async () =>
        {
            foreach (var silo in _silos.Configured)
            {
                using var small = new SiloCall(static _ => MissReason.None, _options.LoadTimeout, CancellationToken.None);
                using var bulk = new SiloCall(static _ => MissReason.None, _options.LoadTimeout, CancellationToken.None);
                if (await silo.Control.RunAsync(small).ConfigureAwait(false) == MissReason.None)
                {
                    await silo.Data.RunAsync(bulk).ConfigureAwait(false);
                    return;
                }
            }
        });
    }

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckMatch(prefix, hold);
        return MatchAsync(new RankGroup(prefix.Namespace), prefix.Chain, hold, prefix.Hint, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default) =>
        MatchAsync(group, chain, hold, hint: null, cancellationToken);

    private async ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold, CacheHint? hint, CancellationToken cancellationToken)
    {
        BlockArguments.CheckMatch(group, chain, hold);
        Check(cancellationToken);
        if (chain.BlockCount == 0)
            return new CacheMatch(0, chain.TokensPerBlock, MissReason.None);
        var isFirst = !_hasMatched && _options.FirstMatchTimeout > _options.MatchTimeout;
        var budget = new CallBudget(
            isFirst ? _options.FirstMatchTimeout : _options.MatchTimeout, _options.SiloPatience, cancellationToken);
        var match = await new ClusterMatch(_silos, group, chain, hold, budget, _options.MatchTimeout, hint).RunAsync()
            .ConfigureAwait(false);
        _hasMatched = true;
        _meter.Matched(match.Blocks, chain.BlockCount, match.Reason, budget.Began, match.Error);
        return match;
    }

    /// <summary>Tells which silos hold a prompt's blocks, and what only Redis has: for routers (<see cref="KvRouter"/>). Not a use of any
    /// block.</summary>
    /// <param name="prefix">The prompt.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <returns>The holders, from the first block up to the first that nobody has; null when no silo has answered within
    /// <see cref="KvCacheClientOptions.MatchTimeout"/>.</returns>
    public ValueTask<BlockLocations?> LocateAsync(KvPrefix prefix, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPrefix(prefix);
        Check(cancellationToken);
        var budget = new CallBudget(_options.MatchTimeout, _options.SiloPatience, cancellationToken);
        return new ClusterLocate(_silos, prefix, budget).RunAsync();
    }

    /// <inheritdoc/>
    public async ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        Check(cancellationToken);
        if (destinations.Count == 0)
            return default;
        var budget = new CallBudget(_options.LoadTimeout, _options.SiloPatience, cancellationToken);
        var load = new ClusterLoad(_silos, prefix, firstBlock, destinations, range, budget, match?.Origin as MatchedChain)
        {
            LocatesFirst = _locatesFirst,
        };
        var result = WithError(await load.RunAsync().ConfigureAwait(false), budget.Began);
        _locatesFirst = load.LocatesFirst;
        if (result.Blocks < destinations.Count)
            cancellationToken.ThrowIfCancellationRequested();
        _meter.Loaded(result, destinations.Count, prefix.Namespace.Layout, range, budget.Began);
        return result;
    }

    /// <inheritdoc/>
    public async ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= Defaults;
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        Check(cancellationToken);
        if (blocks.Count == 0)
            return default;
        var budget = new CallBudget(_options.StoreTimeout, _options.SiloPatience, cancellationToken);
        var result = await new ClusterStore(_silos, prefix, firstBlock, blocks, options, budget).RunAsync().ConfigureAwait(false);
        result = result with { Error = _silos.Failure.Of(result.Reason, budget.Began) };
        _meter.DidStore(result, blocks.Count, prefix.Namespace.Layout.BlockBytes, budget.Began);
        return result;
    }

    /// <summary>
    /// Leases consecutive blocks where they lie, in the memory of the home silo, which takes what it lacks from other silos and Redis: no
    /// byte is copied or crosses a socket for this client.
    /// </summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block.</param>
    /// <param name="count">Number of blocks.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>The blocks up to the first that cannot be had; none where memory is not shared (<see
    /// cref="KvCacheClientOptions.SharedMemory"/>). Dispose it.</returns>
    /// <exception cref="ArgumentException">The run is outside the prefix.</exception>
    public async ValueTask<MappedBlocks> MapAsync(KvPrefix prefix, int firstBlock, int count, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckRun(prefix, firstBlock, count);
        Check(cancellationToken);
        var home = _silos.Configured[0];
        if (home.Memory is not { } memory)
            return new MappedBlocks(null, [], MissReason.Unavailable);
        var blocks = new List<LeasedBlock>(count);
        var budget = new CallBudget(_options.LoadTimeout, _options.SiloPatience, cancellationToken);
        memory.TakeKept(prefix.Namespace, prefix.Chain.Hashes.Slice(firstBlock, count), blocks);
        var reason = blocks.Count == count ? MissReason.None : await budget.RunAsync(
            home.Data,
            connection =>
            {
                try
                {
                    // A request, and the answer to it, name so many blocks at most: the rest is asked for until nothing more comes.
                    for (var kept = -1; kept < blocks.Count && blocks.Count < count;)
                    {
                        kept = blocks.Count;
                        var piece = prefix.Chain.Hashes.Slice(firstBlock + kept, Math.Min(count - kept, WireProtocol.MaxBlocksPerRequest));
                        memory.Lease(connection, prefix.Namespace, piece, localOnly: false, blocks);
                    }

                    return blocks.Count == count ? MissReason.None : MissReason.Absent;
                }
                catch (Exception e) when (SiloMemory.IsNotShared(e))
                {
                    home.StopSharing(e.Message);
                    return MissReason.Unavailable;
                }
            },
            isPatient: true).ConfigureAwait(false);
        home.Loaded(blocks.Count);
        var layout = prefix.Namespace.Layout;
        _meter.Loaded(WithError(new LoadResult(blocks.Count, reason), budget.Began), count, layout, layout.AllLayers, budget.Began);
        return new MappedBlocks(memory, blocks, reason);
    }

    /// <inheritdoc/>
    public ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPin(prefix, duration);
        return CountAsync(prefix, (connection, hashes) => connection.Pin(prefix.Namespace, hashes, duration), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckExpire(prefix, timeToLive);
        return CountAsync(prefix, (connection, hashes) => connection.Expire(prefix.Namespace, hashes, timeToLive), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckHint(prefix, hint);
        Check(cancellationToken);

        // The end of it is enough: what stands before is the same request's, or is not meant.
        var first = Math.Max(0, prefix.BlockCount - WireProtocol.MaxBlocksPerRequest);
        if (prefix.BlockCount == 0)
            return;
        await new CallBudget(_options.MatchTimeout, _options.SiloPatience, cancellationToken).RunAsync(
            _silos.Homes,
            silo => silo.Control,
            connection =>
            {
                connection.Hint(prefix.Namespace, prefix.Chain.Hashes[first..], hint);
                return MissReason.None;
            }).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckNamespace(ns, nameof(ns));
        Check(cancellationToken);
        foreach (var silo in _silos.Configured)
            silo.Memory?.Drop(ns);
        var result = default(DeleteResult);
        await new CallBudget(_options.StoreTimeout, _options.StoreTimeout, cancellationToken).RunAsync(
            _silos.Homes,
            silo => silo.Data,
            connection =>
            {
                result = connection.Clear(ns);
                return MissReason.None;
            }).ConfigureAwait(false);
        return result;
    }

    /// <inheritdoc/>
    public async ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckPrefix(prefix);
        Check(cancellationToken);
        foreach (var silo in _silos.Configured)
            silo.Memory?.Drop(prefix.Namespace, prefix.Chain.Hashes);
        var result = new DeleteResult(0, IsConfirmed: true);
        var isWhole = await ForPiecesAsync(
            prefix, (connection, hashes) => result = result.Add(connection.Delete(prefix.Namespace, hashes)), cancellationToken)
            .ConfigureAwait(false);
        return result with { IsConfirmed = result.IsConfirmed && isWhole };
    }

    /// <summary>What this client has done so far, with each silo, and what the home silo says of itself.</summary>
    /// <inheritdoc/>
    public async ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        Check(cancellationToken);
        byte[]? json = null;
        await new CallBudget(_options.MatchTimeout, _options.SiloPatience, cancellationToken)
            .RunAsync(_silos.Homes, silo => silo.Control, connection =>
        {
            json = connection.Stat();
            return MissReason.None;
        }).ConfigureAwait(false);
        var statistics = _meter.Snapshot(memoryBytes: 0, _silos.Failure.Text) with
        {
            Silos = _silos.All.ConvertAll(silo => silo.Summarize())
        };
        if (json is null)
            return statistics;
        using var document = JsonDocument.Parse(json);
        return statistics with { Silo = document.RootElement.Clone() };
    }

    /// <inheritdoc/>
    public void ResetStatistics() => _meter.Reset();

    /// <summary>Asks the silos, in their order, until one answers.</summary>
    /// <inheritdoc/>
    public async ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default)
    {
        Check(cancellationToken);
        var timeout = _options.FirstMatchTimeout > _options.MatchTimeout ? _options.FirstMatchTimeout : _options.MatchTimeout;
        var budget = new CallBudget(timeout, _options.SiloPatience, cancellationToken);
        var (reason, _) = await budget.RunAsync(_silos.Homes, silo => silo.Control, static connection =>
        {
            connection.Stat();
            return MissReason.None;
        }).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        return new CacheHealth(
            reason == MissReason.None, Stopwatch.GetElapsedTime(budget.Began), _silos.Failure.Of(reason, budget.Began));
    }

    /// <summary>Ends all connections. Calls that are under way end with a miss.</summary>
    public ValueTask DisposeAsync()
    {
        _disposed = true;
        return _silos.DisposeAsync();
    }

    /// <summary>As <see cref="DisposeAsync"/>: it waits as long as its threads take to end, and nothing in it needs the caller's
    /// thread.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    private static StoreOptions Defaults { get; } = new();

    private void Check(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        cancellationToken.ThrowIfCancellationRequested();
    }

    private LoadResult WithError(LoadResult result, long began) => result with { Error = _silos.Failure.Of(result.Reason, began) };

    // On a data connection, and with as much patience as the deadline allows: the silo asks others before it answers.
    private async ValueTask<int> CountAsync(
        KvPrefix prefix, Func<BlockConnection, ReadOnlySpan<BlockHash>, int> call, CancellationToken cancellationToken)
    {
        Check(cancellationToken);
        var count = 0;
        await ForPiecesAsync(prefix, (connection, hashes) => count += call(connection, hashes), cancellationToken).ConfigureAwait(false);
        return count;
    }

    // False when no silo has answered for some of the blocks.
    private async ValueTask<bool> ForPiecesAsync(
        KvPrefix prefix, Action<BlockConnection, ReadOnlySpan<BlockHash>> call, CancellationToken cancellationToken)
    {
        var done = 0;
        var (reason, _) = await new CallBudget(_options.LoadTimeout, _options.LoadTimeout, cancellationToken).RunAsync(
            _silos.Homes,
            silo => silo.Data,
            connection =>
            {
                foreach (var (first, blocks) in RequestPieces.Of(done, prefix.BlockCount, RequestPieces.MostMoved))
                {
                    call(connection, prefix.Chain.Hashes.Slice(first, blocks));
                    done = first + blocks;
                }

                return MissReason.None;
            }).ConfigureAwait(false);
        return reason == MissReason.None;
    }
}
