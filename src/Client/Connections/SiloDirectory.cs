using System.Collections.Immutable;
using System.Net.Sockets;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Logging;

namespace KvCache.Client.Connections;

/// <summary>
/// The silos that this client talks to: those of its settings, in order of preference, and those that the cluster has named. The latter are
/// connected on demand, kept while they are used, and bounded in number.
/// </summary>
internal sealed partial class SiloDirectory : IAsyncDisposable
{
    // Longer than any hold: a connection that ends ends the holds that were made on it.
    private static readonly TimeSpan IdleLimit = TimeSpan.FromMinutes(2);

    private readonly KvCacheClientOptions _options;
    private readonly Credentials _credentials;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, SiloConnector> _named = [];
    private Task _ending = Task.CompletedTask;
    private bool _disposed;

    public SiloDirectory(KvCacheClientOptions options, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _credentials = new Credentials(options.Tenant, options.CreateSecret(), options.Tls.Create());
        _credentials.Secret.Refused = LogSecretRefused;
        Configured =
        [
            .. options.Endpoints.Distinct().Select(
                endpoint => new SiloConnector(SiloEndpoint.TryParse(endpoint)!, options, _credentials, logger, Failure)),
        ];
    }

    /// <summary>The latest failure of any silo.</summary>
    public LastFailure Failure { get; } = new();

    /// <summary>Silos of the settings, in their order; one that is named twice counts once.</summary>
    public ImmutableArray<SiloConnector> Configured { get; }

    /// <summary>The same, those that are about to leave last. The first one that answers is the home silo.</summary>
    public ImmutableArray<SiloConnector> Homes =>
        Configured.Length > 1 && Configured.Any(silo => silo.IsLeaving) ? [.. Configured.OrderBy(silo => silo.IsLeaving)] : Configured;

    /// <summary>All silos that are known now.</summary>
    public List<SiloConnector> All
    {
        get
        {
            lock (_lock)
                return [.. Configured, .. _named.Values];
        }
    }

    /// <summary>The connector to a silo that the cluster has named.</summary>
    /// <param name="endpoints">Addresses of the silo, best first.</param>
    /// <returns>Null when no address can be used, or there are too many silos in use.</returns>
    public SiloConnector? Find(IReadOnlyList<string> endpoints)
    {
        foreach (var silo in Configured)
        {
            if (endpoints.Contains(silo.Endpoint))
                return silo;
        }

        lock (_lock)
        {
            foreach (var endpoint in endpoints)
            {
                if (_named.TryGetValue(endpoint, out var known))
                {
                    known.Touch();
                    return known;
                }
            }

            // No Unix socket: its path means something else on another machine.
            foreach (var endpoint in endpoints)
            {
                if (SiloEndpoint.TryParse(endpoint) is { EndPoint: not UnixDomainSocketEndPoint } address)
                    return Add(address);
            }
        }

        return null;
    }

    /// <summary>Ends all connections.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach (var silo in _named.Values)
                End(silo);
            _named.Clear();
        }

        foreach (var silo in Configured)
            await silo.DisposeAsync().ConfigureAwait(false);
        await _ending.ConfigureAwait(false);
    }

    private SiloConnector? Add(SiloEndpoint address)
    {
        if (_disposed)
            return null;
        foreach (var silo in _named.Values)
        {
            if (silo.IdleTime > IdleLimit && _named.Remove(silo.Endpoint))
                End(silo);
        }

        if (_named.Count >= _options.MaxSilos)
            return null;
        return _named[address.Text] = new SiloConnector(address, _options, _credentials, _logger, Failure);
    }

    private void End(SiloConnector silo) => _ending = Task.WhenAll(_ending, silo.DisposeAsync().AsTask());

    [LoggerMessage(Level = LogLevel.Error, Message = "The changed file of the secret is refused, and the old secret stays: {Problem}")]
    private partial void LogSecretRefused(string problem);
}
