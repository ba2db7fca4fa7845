using System.Diagnostics;
using System.Net;
using KvCache.Silo.Accounts;
using KvCache.Silo.Connections;
using KvCache.Silo.Options;
using KvCache.Silo.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>
/// Bounds the connections of the HTTP port as those of the other ports: few places for who has not shown a token yet, by address, and a
/// number for the others, of each tenant its part,
/// that leaves file descriptors for the data plane. Kestrel's own limit refuses whoever comes last, which is the wrong one.
/// </summary>
internal sealed class HttpConnections : IDisposable
{
    private const int MostReserved = 16;
    private static readonly object Item = new();

    private readonly UnprovenConnections<Entry> _unproven;
    private readonly ConnectionOptions _limits;
    private readonly SiloCounters _counters;
    private readonly Timer _watch;
    private readonly TenantPlaces _proven;

    public HttpConnections(
        IOptions<HttpApiOptions> options, IOptions<DataPlaneOptions> dataPlane, TenantQuotas quotas, SiloCounters counters)
    {
        _counters = counters;
        _limits = dataPlane.Value;
        Most = Math.Min(options.Value.MaxConnections, Math.Max(1, FileLimit.Soft / 4));
        _proven = new TenantPlaces(Most, Math.Min(MostReserved, Most / 8), quotas.ConnectionsOf);
        var unproven = Math.Min(_limits.MaxUnproven, Math.Max(1, FileLimit.Soft / 8));
        _unproven = new UnprovenConnections<Entry>(unproven, Math.Min(_limits.MaxUnprovenPerAddress, unproven));
        _watch = new Timer(_ => Watch(), null, TimeSpan.FromMilliseconds(250), TimeSpan.FromMilliseconds(250));
    }

    /// <summary>Most connections at a time whose requests have shown a token.</summary>
    public int Most { get; }

    /// <summary>Serves one connection.</summary>
    public async Task ServeAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        var entry = new Entry(connection);
        connection.Items[Item] = entry;
        if (_unproven.Add(entry, (connection.RemoteEndPoint as IPEndPoint)?.Address) is { } displaced)
        {
            _counters.Displaced();
            displaced.Connection.Abort(new ConnectionAbortedException("Its place is needed, and it has not proved who it is."));
        }

        try
        {
            await next(connection);
        }
        finally
        {
            _unproven.Remove(entry);
            if (entry.Owner is { } owner)
                _proven.Release(owner);
        }
    }

    /// <summary>A request begins.</summary>
    public static void Begin(HttpContext context)
    {
        if (EntryOf(context) is { } entry)
            Volatile.Write(ref entry.Quiet, 0);
    }

    /// <summary>A request has ended.</summary>
    public static void End(HttpContext context)
    {
        if (EntryOf(context) is { } entry)
            Volatile.Write(ref entry.Quiet, Stopwatch.GetTimestamp());
    }

    /// <summary>A request has shown who it comes from: its connection gets one of the places for that.</summary>
    /// <param name="context">The request.</param>
    /// <param name="tenant">The tenant; empty for one of the silo's operators, of whom no tenant takes all places.</param>
    /// <returns>False when they are taken.</returns>
    public bool TryProve(HttpContext context, string tenant)
    {
        if (EntryOf(context) is not { } entry)
            return true;
        lock (entry) // requests of HTTP/2 come at the same time
        {
            if (entry.Owner is not null)
                return true;
            if (!_proven.TryTake(tenant))
                return false;
            entry.Owner = tenant;
        }

        _unproven.Remove(entry);
        return true;
    }

    public void Dispose() => _watch.Dispose();

    private static Entry? EntryOf(HttpContext context) =>
        context.Features.Get<IConnectionItemsFeature>()?.Items.TryGetValue(Item, out var entry) == true ? entry as Entry : null;

    private void Watch()
    {
        foreach (var entry in _unproven.Snapshot())
        {
            if (Volatile.Read(ref entry.Quiet) is var since && since == 0)
                continue;
            var quiet = Stopwatch.GetElapsedTime(since);
            if (quiet > 2 * _limits.HandshakeTimeout)
                entry.Connection.Abort(new ConnectionAbortedException("It did not prove who it is in time."));
            else if (quiet > _limits.HandshakeTimeout)
                // in order: a request may be on its way
                entry.Connection.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();
        }
    }

    private sealed class Entry(ConnectionContext connection)
    {
        public long Quiet = Stopwatch.GetTimestamp(); // 0 while a request is served

        public ConnectionContext Connection => connection;

        /// <summary>Who has shown a token first, and pays for the place; null as long as nobody has.</summary>
        public string? Owner { get; set; }
    }
}
