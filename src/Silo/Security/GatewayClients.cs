using KvCache.Silo.Accounts;
using Microsoft.AspNetCore.Connections;

namespace KvCache.Silo.Security;

/// <summary>Connections at the gateway that have proved a tenant's secret: so many in all, of each tenant its part, and none of a tenant
/// that is not let in any more.</summary>
/// <param name="most">Most of all tenants together.</param>
/// <param name="quotas">Which part a tenant has, and who is not let in.</param>
internal sealed class GatewayClients(int most, TenantQuotas quotas) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ConnectionContext, string> _tenants = [];
    private Timer? _watch;

    /// <summary>Gives a connection one of the places of its tenant.</summary>
    /// <returns>False when they are taken.</returns>
    public bool TryAdd(ConnectionContext connection, string tenant)
    {
        lock (_lock)
        {
            if (_tenants.Count >= most || _tenants.Values.Count(other => other == tenant) >= quotas.ConnectionsOf(tenant, most))
                return false;
            _tenants.Add(connection, tenant);
            _watch ??= new Timer(_ => EndClosed(), null, TimeSpan.FromMilliseconds(250), TimeSpan.FromMilliseconds(250));
            return true;
        }
    }

    public void Remove(ConnectionContext connection)
    {
        lock (_lock)
            _tenants.Remove(connection);
    }

    public void Dispose() => _watch?.Dispose();

    private void EndClosed()
    {
        ConnectionContext[] closed;
        lock (_lock)
            closed = [.. _tenants.Where(client => quotas.IsClosed(client.Value)).Select(client => client.Key)];
        foreach (var connection in closed)
            connection.Abort(new ConnectionAbortedException("Its tenant was disabled or deleted."));
    }
}
