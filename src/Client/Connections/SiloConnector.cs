using System.Diagnostics;
using System.Net.Sockets;
using KvCache.Client.Cluster;
using KvCache.Client.SharedMemory;
using KvCache.Engine.Resilience;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Logging;

namespace KvCache.Client.Connections;

/// <summary>
/// The connections to one silo: one for small requests, so that a match never waits behind bytes, and a few for bulk bytes,
/// under one circuit breaker.
/// </summary>
internal sealed partial class SiloConnector : IAsyncDisposable
{
    // A lease costs the client about 200 bytes and 4 bytes a layer.
    private const int MaxKeptLeases = 4096;
    private static readonly TimeSpan ReleaseTime = TimeSpan.FromMilliseconds(250);

    private readonly CircuitBreaker _breaker;
    private readonly ILogger _logger;
    private readonly LastFailure _failure;
    private volatile SiloMemory? _memory;
    private long _loadedBlocks, _storedBlocks;
    private long _lastUse = Stopwatch.GetTimestamp();

    public SiloConnector(
        SiloEndpoint endpoint, KvCacheClientOptions options, Credentials credentials, ILogger logger, LastFailure failure)
    {
        _failure = new LastFailure(failure);
        Endpoint = endpoint.Text;
        _logger = logger;
        if (options.SharedMemory && endpoint.EndPoint is UnixDomainSocketEndPoint)
            _memory = new SiloMemory(options.LeaseLife, MaxKeptLeases, options.VerifySharedMemory, TimeProvider.System);
        _breaker = new CircuitBreaker(options.BreakerFailures, options.BreakerDelay, TimeProvider.System);
        Control = new ConnectionLanes(endpoint, options, credentials, max: 1, bulk: false, _breaker, logger, _failure);
        Data = new ConnectionLanes(endpoint, options, credentials, options.DataConnections, bulk: true, _breaker, logger, _failure);
    }

    public string Endpoint { get; }

    /// <summary>The silo's memory, where it is read in place; null where it is not.</summary>
    public SiloMemory? Memory => _memory;

    public ConnectionLanes Control { get; }

    public ConnectionLanes Data { get; }

    /// <summary>Whether the silo has said lately that it is about to leave.</summary>
    public bool IsLeaving => Control.IsLeaving || Data.IsLeaving;

    /// <summary>Time since anybody has asked for this connector; zero while a call waits or runs.</summary>
    public TimeSpan IdleTime => Control.IsIdle && Data.IsIdle ? Stopwatch.GetElapsedTime(Volatile.Read(ref _lastUse)) : TimeSpan.Zero;

    /// <summary>Reads blocks that the silo holds: in its memory, or through the socket.</summary>
    /// <inheritdoc cref="BlockConnection.Get"/>
    public MissReason Read(
        BlockConnection connection, CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range,
        IReadOnlyList<Memory<byte>> destinations, ref int delivered, MatchedPiece? matched, int end, CacheHint? hint)
    {
        if (_memory is { } memory)
        {
            try
            {
                return memory.Copy(connection, ns, hashes, range, destinations, ref delivered, hint);
            }
            catch (Exception e) when (SiloMemory.IsNotShared(e))
            {
                StopSharing(e.Message);
            }
        }

        var hold = matched?.HoldFor(end) ?? default;
        var reason = connection.Get(ns, hashes, range, destinations, delivered, localOnly: true, ref delivered, hold, hint);
        if (reason == MissReason.None)
            matched?.HasRead(hold);
        return reason;
    }

    /// <summary>Reads blocks that the silo holds, layer by layer: in its memory, or through the socket.</summary>
    /// <inheritdoc cref="BlockConnection.GetLayers"/>
    public MissReason ReadLayers(
        BlockConnection connection, CacheNamespace ns, ReadOnlySpan<BlockHash> hashes, LayerRange range,
        IReadOnlyList<Memory<byte>> destinations, ILayerSink sink, MatchedPiece? matched, int end, CacheHint? hint)
    {
        if (_memory is { } memory)
        {
            try
            {
                return memory.CopyLayers(connection, ns, hashes, range, destinations, sink, hint);
            }
            catch (Exception e) when (SiloMemory.IsNotShared(e))
            {
                StopSharing(e.Message);
            }
        }

        var hold = matched?.HoldFor(end) ?? default;
        var reason = connection.GetLayers(ns, hashes, range, destinations, localOnly: true, sink, hold: hold, hint: hint);
        if (reason == MissReason.None)
            matched?.HasRead(hold);
        return reason;
    }

    /// <summary>The silo's memory cannot be read in place: from here on everything comes through the socket.</summary>
    public void StopSharing(string reason)
    {
        _memory = null;
        LogNotShared(Endpoint, reason);
    }

    public void Touch() => Volatile.Write(ref _lastUse, Stopwatch.GetTimestamp());

    public void Loaded(int blocks) => Interlocked.Add(ref _loadedBlocks, blocks);

    public void Stored(int blocks) => Interlocked.Add(ref _storedBlocks, blocks);

    public long Failures => Control.Failures + Data.Failures;

    public SiloUse Summarize() => new(
        Endpoint,
        Volatile.Read(ref _loadedBlocks),
        Volatile.Read(ref _storedBlocks),
        Control.MovedBytes + Data.MovedBytes,
        Failures,
        _breaker.IsOpen,
        _failure.Text);

    public async ValueTask DisposeAsync()
    {
        if (_memory is { } memory)
        {
            using var release = new SiloCall(
                connection =>
                {
                    memory.ReleaseAll(connection);
                    return MissReason.None;
                },
                ReleaseTime,
                CancellationToken.None);
            await Control.RunAsync(release).ConfigureAwait(false);
        }

        await Control.DisposeAsync().ConfigureAwait(false);
        await Data.DisposeAsync().ConfigureAwait(false);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The memory of {Endpoint} cannot be read in place, its socket is used: {Reason}")]
    private partial void LogNotShared(string endpoint, string reason);
}
