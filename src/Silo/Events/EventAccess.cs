using System.Net;
using System.Security.Cryptography;
using System.Text;
using KvCache.Silo.Accounts;
using KvCache.Silo.Data;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Events;

/// <summary>Who may hear which events: on a silo with tenants, who proves a tenant's secret, those of its namespaces.</summary>
internal sealed class EventAccess(TenantRegistry tenants, TenantQuotas quotas, AuditLog audit, IOptions<EventOptions> options)
{
    /// <summary>Whether subscribers have to prove who they are.</summary>
    public bool AsksProof => tenants.HasSecrets;

    /// <summary>How the topics of a tenant begin: a namespace's id begins with its tenant's.</summary>
    public byte[] TopicsOf(string? tenant) => tenant is null ? [] : Encoding.UTF8.GetBytes($"{options.Value.Topic}{TenantId.Of(tenant)}");

    /// <summary>Subscribers that a tenant may have of so many.</summary>
    public int SubscribersOf(string? tenant, int ofAll) => tenant is null ? ofAll : quotas.ConnectionsOf(tenant, ofAll);

    /// <summary>Whether a tenant is not let in any more.</summary>
    public bool IsClosed(string? tenant) => tenant is not null && quotas.IsClosed(tenant);

    /// <summary>Checks a tenant's secret.</summary>
    /// <returns>The tenant; null, after the time that a wrong proof costs, when the secret is not its.</returns>
    public async ValueTask<string?> ProveAsync(
        string tenant, byte[] secret, IPAddress? address, TimeSpan longest, CancellationToken cancellationToken)
    {
        // Digests are of equal length, and which byte of them differs first says nothing about the secret.
        var given = SHA256.HashData(secret);
        foreach (var valid in tenants.ClientSecretsOf(tenant))
        {
            if (CryptographicOperations.FixedTimeEquals(given, SHA256.HashData(valid)))
                return tenant;
        }

        await Task.Delay(audit.Refused("the event socket", address, tenant, longest), cancellationToken);
        return null;
    }
}
