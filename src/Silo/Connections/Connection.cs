using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using KvCache.Engine.Wire;
using KvCache.Silo.Accounts;
using KvCache.Silo.Hosting;
using KvCache.Silo.Options;
using KvCache.Silo.Telemetry;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Connections;

/// <summary>
/// One connection of a front end: a thread of its own serves it, a watchdog ends it when its peer does not keep up, and what goes wrong
/// harms nobody else.
/// </summary>
internal abstract partial class Connection : IDisposable
{
    private readonly ByteChannel _channel;
    private readonly ConnectionOptions _options;
    private readonly SiloCounters _counters;
    private readonly ILogger _logger;
    private readonly long _opened = Stopwatch.GetTimestamp();

    // Read by the watchdog: when the current frame began (0 between frames) and how many bytes had moved then.
    private long _frameBegan;
    private long _frameBytes;
    private long _lastActive = Stopwatch.GetTimestamp();
    private long _reportedIn, _reportedOut;
    private FairShare.Turn? _turn; // once it is admitted

    /// <summary>Takes over an accepted connection.</summary>
    /// <param name="channel">The connection, before its handshake; disposed with this object.</param>
    /// <param name="peer">Its other end, for the log.</param>
    /// <param name="options">Limits.</param>
    /// <param name="counters">What is counted.</param>
    /// <param name="logger">Log of the front end.</param>
    protected Connection(ByteChannel channel, string peer, ConnectionOptions options, SiloCounters counters, ILogger logger)
    {
        _channel = channel;
        _options = options;
        _counters = counters;
        Peer = peer;
        _logger = logger;
    }

    /// <summary>The other end, for the log.</summary>
    protected string Peer { get; }

    /// <summary>The peer's address; null for a Unix socket. Set by the listener.</summary>
    public IPAddress? Address { get; set; }

    /// <summary>Asks the listener for one of the places of those who have proved who they are. Set by the listener.</summary>
    public Func<Connection, string, bool>? Admission { private get; set; }

    /// <summary>Gives turns to its requests while the silo is busy. Set by the listener.</summary>
    public FairShare? Turns { private get; set; }

    /// <summary>Whose connection it is, once it is admitted.</summary>
    public string? Tenant { get; private set; }

    /// <summary>Whether the peer may stay: before, it has <see cref="ConnectionOptions.HandshakeTimeout"/>.</summary>
    protected bool Authenticated => Tenant is not null;

    /// <summary>
    /// Whether the protocol asks for a proof. Where it does not, a connection is admitted with its first whole request, and may be silent
    /// before as long as nobody needs its place.
    /// </summary>
    public virtual bool AsksProof => true;

    /// <summary>How long the connection has done nothing; null in the middle of a request.</summary>
    public TimeSpan? Idle => Volatile.Read(ref _frameBegan) == 0 ? Stopwatch.GetElapsedTime(Volatile.Read(ref _lastActive)) : null;

    /// <summary>Bytes received so far.</summary>
    protected abstract long ReceivedBytes { get; }

    /// <summary>Bytes sent so far.</summary>
    protected abstract long SentBytes { get; }

    /// <summary>Serves the connection until it ends. Never throws: what goes wrong harms this connection only.</summary>
    public void Run()
    {
        try
        {
            if (_channel is not TlsChannel tls || Agree(tls))
                Serve();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            LogEnded(Peer, e.Message);
        }
        catch (Exception e)
        {
            LogFailed(e, Peer);
            TryTell();
        }
    }

    /// <summary>Called by the watchdog, on its own thread.</summary>
    public virtual void Watch(long now)
    {
        if (!Authenticated && AsksProof)
        {
            if (Stopwatch.GetElapsedTime(_opened, now) > _options.HandshakeTimeout)
                Abort("the handshake took too long");
            return;
        }

        var began = Volatile.Read(ref _frameBegan);
        if (began == 0)
        {
            if (Stopwatch.GetElapsedTime(Volatile.Read(ref _lastActive), now) > _options.IdleTimeout)
                Abort("it was idle for too long");
            return;
        }

        var moved = ReceivedBytes + SentBytes - Volatile.Read(ref _frameBytes);
        if (Stopwatch.GetElapsedTime(began, now) > _options.FrameTimeout + TimeSpan.FromSeconds((double)moved / _options.MinBytesPerSecond))
            Abort("a frame took too long");
    }

    /// <summary>Ends the connection, from any thread.</summary>
    public void Abort(string reason)
    {
        LogAborted(Peer, reason);
        _channel.Abort();
    }

    /// <summary>Ends the connection because another one needs its place: counted, and not worth a line each.</summary>
    public void Displace() => _channel.Abort();

    /// <summary>Releases what the connection holds. Called when its thread has ended.</summary>
    public virtual void Dispose()
    {
        ReportBytes();
        _turn?.Dispose();
        _channel.Dispose();
    }

    /// <summary>Serves until the peer closes the connection.</summary>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    protected abstract void Serve();

    /// <summary>Tells the peer that the silo failed.</summary>
    protected abstract void TellFailure();

    /// <summary>Makes the connection a tenant's.</summary>
    /// <returns>False when the listener has no place for it.</returns>
    protected bool TryAdmit(string tenant)
    {
        if (!Admission!(this, tenant))
            return false;
        Tenant = tenant;
        _turn = Turns?.Register(tenant);
        return true;
    }

    /// <summary>A request begins: from now on it has a limit.</summary>
    protected void BeginFrame()
    {
        _turn?.Begin();
        Volatile.Write(ref _frameBytes, ReceivedBytes + SentBytes);
        Volatile.Write(ref _frameBegan, Stopwatch.GetTimestamp());
    }

    /// <summary>A block of a request is over: others may have a turn before the next one, which does not count as this peer's
    /// time.</summary>
    protected void ContinueFrame()
    {
        if (_turn?.Continue() is { Ticks: > 0 } waited)
            Volatile.Write(ref _frameBegan, _frameBegan + (long)(waited.TotalSeconds * Stopwatch.Frequency));
    }

    /// <summary>A request is over.</summary>
    protected void EndFrame()
    {
        _turn?.End();
        Volatile.Write(ref _lastActive, Stopwatch.GetTimestamp());
        Volatile.Write(ref _frameBegan, 0);
        ReportBytes();
    }

    /// <summary>The peer has shown a certificate that stands for a tenant. Called before <see cref="Serve"/>.</summary>
    protected virtual void Certify(X509Certificate2 certificate)
    {
    }

    // Part of the handshake to the watchdog. A peer that does not agree is told so by TLS itself.
    private bool Agree(TlsChannel tls)
    {
        try
        {
            BeginFrame();
            tls.Handshake();
        }
        catch (Exception e) when (e is SocketException or AuthenticationException)
        {
            _counters.Rejected();
            LogRejected(Peer, e.Message);
            return false;
        }

        if (tls.RemoteCertificate is { } certificate)
            Certify(certificate);
        EndFrame();
        return true;
    }

    private void ReportBytes()
    {
        _counters.Moved(ReceivedBytes - _reportedIn, SentBytes - _reportedOut);
        (_reportedIn, _reportedOut) = (ReceivedBytes, SentBytes);
    }

    private void TryTell()
    {
        try
        {
            TellFailure();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            LogEnded(Peer, e.Message);
        }
    }

    /// <summary>Tells why a connection is ended, or a request refused.</summary>
    [LoggerMessage(
        Level = LogLevel.Warning, EventName = BoundedLog.Strangers + "Rejected", Message = "Connection of {Peer} rejected: {Reason}")]
    protected partial void LogRejected(string peer, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "Connection of {Peer} ended: {Reason}")]
    protected partial void LogEnded(string peer, string reason);

    [LoggerMessage(
        Level = LogLevel.Information,
        EventName = BoundedLog.Strangers + "Ended",
        Message = "Connection of {Peer} is ended by the silo: {Reason}")]
    private partial void LogAborted(string peer, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Connection of {Peer} failed")]
    private partial void LogFailed(Exception exception, string peer);
}
