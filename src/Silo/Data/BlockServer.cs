using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using KvCache.Grains;
using KvCache.Storage;
using KvCache.Wire;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo;

/// <summary>
/// The data plane of a silo: listens on TCP and on a Unix socket and gives every connection a thread of its own.
/// </summary>
/// <remarks>
/// A thread that blocks in the kernel moves bytes between socket and arena fastest, and the scheduler, not a shared pool, keeps
/// a small request from waiting behind large ones. Connections are bounded, so threads are.
/// </remarks>
internal sealed partial class BlockServer : IHostedService, IDataPlaneAddresses, IDisposable
{
    private const int SessionStackBytes = 256 * 1024;
    private const int GrainCallsAtOnce = 64;
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(5);

    private readonly ILogger<BlockServer> _logger;
    private readonly ILoggerFactory _loggers;
    private readonly CancellationTokenSource _stopping = new();
    private readonly HashSet<Session> _sessions = [];
    private readonly List<Socket> _listeners = [];
    private readonly List<Task> _loops = [];
    private readonly ILocalSiloDetails _silo;
    private string[] _endpoints = [];
    private bool _ownsUnix;

    public BlockServer(
        BlockStore store,
        ClusterView cluster,
        BlockWriter writer,
        BlockFetcher fetcher,
        IGrainFactory grains,
        TenantRegistry tenants,
        SiloCounters counters,
        ILocalSiloDetails silo,
        IOptions<DataPlaneOptions> options,
        IOptions<ArenaOptions> arena,
        ILoggerFactory loggers)
    {
        Store = store;
        Cluster = cluster;
        Writer = writer;
        Fetcher = fetcher;
        Grains = grains;
        Tenants = tenants;
        Counters = counters;
        Options = options.Value;
        ArenaPath = arena.Value.Path;
        Mapped = new MappedLeases((long)(Options.MaxMappedShare * store.Arena.Capacity));
        if (Options.SharedMemory && ArenaPath.Length == 0)
            throw new IOException($"{DataPlaneOptions.Section}:SharedMemory is on, and {ArenaOptions.Section}:Path is empty; the arena needs a file to be mapped.");
        _silo = silo;
        _logger = loggers.CreateLogger<BlockServer>();
        _loggers = loggers;
    }

    public BlockStore Store { get; }

    public ClusterView Cluster { get; }

    public BlockWriter Writer { get; }

    public BlockFetcher Fetcher { get; }

    public IGrainFactory Grains { get; }

    public TenantRegistry Tenants { get; }

    public SiloCounters Counters { get; }

    public DataPlaneOptions Options { get; }

    /// <summary>Leases of processes that read in the arena.</summary>
    public MappedLeases Mapped { get; }

    /// <summary>File of the arena, or empty.</summary>
    public string ArenaPath { get; }

    /// <summary>Random id of this arena: another silo's, or a later one's, has another.</summary>
    public ulong ArenaId { get; } = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));

    /// <inheritdoc/>
    public string[] Endpoints => _endpoints;

    /// <summary>Addresses that mean the same on every machine.</summary>
    public string[] EndpointsForOthers { get; private set; } = [];

    /// <summary>Port of the TCP listener, or 0.</summary>
    public int TcpPort { get; private set; }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var endpoints = new List<string>();
        if (Options.Unix.Length > 0)
        {
            RemoveStaleSocket(Options.Unix);
            Listen(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), new UnixDomainSocketEndPoint(Options.Unix));
            _ownsUnix = true;
            if (!OperatingSystem.IsWindows())
                File.SetUnixFileMode(Options.Unix, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            endpoints.Add($"unix:{Options.Unix}");
        }

        if (Options.Tcp.Length > 0)
        {
            var address = IPEndPoint.Parse(Options.Tcp);
            var listener = Listen(new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp), address);
            TcpPort = ((IPEndPoint)listener.LocalEndPoint!).Port;
            var reachable = address.Address.Equals(IPAddress.Any) || address.Address.Equals(IPAddress.IPv6Any) ? _silo.SiloAddress.Endpoint.Address : address.Address;
            var tcp = $"tcp:{(Options.Advertised.Length > 0 ? Options.Advertised : new IPEndPoint(reachable, TcpPort).ToString())}";
            endpoints.Add(tcp);
            EndpointsForOthers = [tcp];
        }

        _endpoints = [.. endpoints];
        if (EndpointsForOthers.Length == 0)
            EndpointsForOthers = _endpoints; // a Unix socket alone: only silos of this machine reach it
        foreach (var listener in _listeners)
            _loops.Add(AcceptAsync(listener));
        _loops.Add(WatchAsync());
        LogListening(string.Join(", ", _endpoints));
        return Task.CompletedTask;
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        foreach (var listener in _listeners)
            listener.Dispose();
        await Task.WhenAll(_loops);
        foreach (var session in Snapshot())
            session.Abort("the silo is stopping");
        var began = Stopwatch.GetTimestamp();
        while (Snapshot().Length > 0 && Stopwatch.GetElapsedTime(began) < DrainTime && !cancellationToken.IsCancellationRequested)
            await Task.Delay(10, CancellationToken.None);
        Mapped.Clear();
        if (_ownsUnix)
            File.Delete(Options.Unix);
    }

    public void Dispose() => _stopping.Dispose();

    /// <summary>Calls the grains of blocks, a bounded number at a time, and counts the answers that are true.</summary>
    public int ForEachGrain(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, Func<IPrefixGrain, ValueTask<bool>> call)
    {
        var count = 0;
        var calls = new List<Task<bool>>(Math.Min(hashes.Length, GrainCallsAtOnce));
        for (var i = 0; i < hashes.Length; i++)
        {
            calls.Add(call(Grains.GetPrefix(new BlockKey(ns, hashes[i]))).AsTask());
            if (calls.Count < GrainCallsAtOnce && i + 1 < hashes.Length)
                continue;
            count += Task.WhenAll(calls).GetAwaiter().GetResult().Count(answer => answer);
            calls.Clear();
        }

        return count;
    }

    /// <summary>Checks a block that a reader found damaged, and drops it when its memory is.</summary>
    public bool DropIfCorrupt(BlockKey key, ulong generation)
    {
        using var lease = Store.TryLease(key);
        if (lease is null || lease.Generation != generation || lease.FindDamage(lease.Layout.AllLayers) is not { } layer)
            return false;
        LogCorrupt(key.Namespace, key.Hash, layer);
        Counters.MissCorrupt();
        return Store.Remove(key, RemovalReason.Corrupt, generation);
    }

    public byte[] StatisticsJson() => SiloStatistics.Create(Store.GetStatistics(), Counters).ToJson();

    private static void RemoveStaleSocket(string path)
    {
        if (!File.Exists(path))
            return;
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e)
        {
            if (!IsSocket(path))
                throw new IOException($"'{path}' exists and is not a socket. Give the data plane's Unix socket a path of its own.", e);
            if (e.SocketErrorCode != SocketError.ConnectionRefused)
                throw new IOException($"The Unix socket '{path}' exists and cannot be asked whether somebody listens: {e.Message}.", e);
            File.Delete(path); // left behind by a killed silo: nobody listens
            return;
        }

        throw new IOException($"Another process listens on the Unix socket '{path}'. Give every silo a path of its own.");
    }

    // Sockets are what cannot be opened as a file.
    private static bool IsSocket(string path)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e is IOException;
        }
    }

    private Socket Listen(Socket listener, EndPoint endpoint)
    {
        ApplyBuffers(listener);
        try
        {
            listener.Bind(endpoint);
            listener.Listen(512);
        }
        catch (SocketException e)
        {
            listener.Dispose();
            throw new IOException($"The data plane cannot listen on {endpoint}: {e.Message}. Choose a free address in {DataPlaneOptions.Section}.", e);
        }

        _listeners.Add(listener);
        return listener;
    }

    private void ApplyBuffers(Socket socket) => FrameSocket.ApplyBuffers(socket, (int)Options.SocketBuffer.Bytes);

    private async Task AcceptAsync(Socket listener)
    {
        while (!_stopping.IsCancellationRequested)
        {
            Socket socket;
            try
            {
                socket = await listener.AcceptAsync(_stopping.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (_stopping.IsCancellationRequested)
                    return;
                LogAcceptFailed(e); // for example out of file descriptors: wait for some to be closed
                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None);
                continue;
            }

            Serve(socket);
        }
    }

    // Whatever happens to one connection, the loop goes on to the next.
    private void Serve(Socket socket)
    {
        var connections = Counters.Connected();
        Session? session = null;
        try
        {
            ApplyBuffers(socket);
            if (connections > Options.MaxConnections)
            {
                Refuse(socket);
                Counters.Disconnected();
                return;
            }

            session = new Session(this, socket, socket.RemoteEndPoint is IPEndPoint peer ? peer.ToString() : "unix", _loggers.CreateLogger<Session>());
            lock (_sessions)
                _sessions.Add(session);
            new Thread(Run, SessionStackBytes) { IsBackground = true, Name = "kvcache session" }.Start(session);
        }
        catch (Exception e) when (e is SocketException or OutOfMemoryException)
        {
            LogAcceptFailed(e); // the peer has gone, or the host has no thread left
            socket.Dispose();
            if (session is not null)
                End(session);
            else
                Counters.Disconnected();
        }
    }

    private void Refuse(Socket socket)
    {
        Counters.Rejected();
        var error = new WireWriter();
        error.Take(FrameHeader.Size);
        error.Text($"This silo serves at most {Options.MaxConnections} connections at a time.");
        using var refused = new FrameSocket(socket);
        refused.Send(error, FrameType.Error, WireStatus.LimitExceeded, 0);
    }

    private void Run(object? state)
    {
        var session = (Session)state!;
        session.Run();
        End(session);
    }

    private void End(Session session)
    {
        lock (_sessions)
            _sessions.Remove(session);
        session.Dispose();
        Counters.Disconnected();
    }

    private async Task WatchAsync()
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(250));
        try
        {
            while (await timer.WaitForNextTickAsync(_stopping.Token))
            {
                Store.Sweep();
                Mapped.Sweep();
                var now = Stopwatch.GetTimestamp();
                foreach (var session in Snapshot())
                    session.Watch(now);
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private Session[] Snapshot()
    {
        lock (_sessions)
            return [.. _sessions];
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The data plane listens on {Endpoints}")]
    private partial void LogListening(string endpoints);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection could not be accepted")]
    private partial void LogAcceptFailed(Exception exception);

    [LoggerMessage(Level = LogLevel.Error, Message = "Block {Namespace}/{Hash} is damaged in memory (layer {Layer}); it is dropped")]
    private partial void LogCorrupt(NamespaceId @namespace, BlockHash hash, int layer);
}
