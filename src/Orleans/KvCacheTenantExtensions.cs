using System.Text;
using KvCache.Files;
using KvCache.Orleans.Access;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Serialization;

namespace KvCache.Orleans;

/// <summary>Orleans clients that call the grains of their tenant's prefixes.</summary>
public static class KvCacheTenantExtensions
{
    /// <summary>
    /// Lets an Orleans client through the gateway of KvCache silos as a tenant: every connection begins with a proof of the secret, and
    /// calls carry the ticket that the gateway gives for it. What it gets is <see cref="IPrefixGrain"/>s of its tenant, by prefix
    /// (<see cref="PrefixGrainExtensions.GetPrefix(IGrainFactory, CacheNamespace, ReadOnlySpan{int})"/>); every other call is refused.
    /// </summary>
    /// <param name="client">The client; its cluster id and gateways are the caller's to configure.</param>
    /// <param name="tenant">Name of the tenant, at most 256 bytes of UTF-8; <c>default</c> for silos without tenants.</param>
    /// <param name="secret">The tenant's secret; it stays in this process. Empty where there is a file, or the tenant needs none.</param>
    /// <param name="secretFile">File with the secret in its first line instead. It is read for every new connection and every new ticket,
    /// so that a secret is exchanged without a restart; a file that cannot be used changes nothing.</param>
    /// <exception cref="ArgumentException">The name is empty or too long.</exception>
    /// <exception cref="IOException">The file cannot be used, or there are both a secret and a file.</exception>
    /// <remarks>A client that no gateway lets in fails its start with a <see cref="UnauthorizedAccessException"/>. Where the gateway speaks
    /// TLS, call <c>UseTls</c> of Microsoft.Orleans.Connections.Security too, in any order (docs/security.md).</remarks>
    public static IClientBuilder UseKvCacheTenant(this IClientBuilder client, string tenant, string secret = "", string secretFile = "")
    {
        ArgumentException.ThrowIfNullOrEmpty(tenant);
        ArgumentNullException.ThrowIfNull(secret);
        ArgumentNullException.ThrowIfNull(secretFile);
        if (Encoding.UTF8.GetByteCount(tenant) > CacheNamespace.MaxTextBytes)
            throw new ArgumentException($"A tenant's name has at most {CacheNamespace.MaxTextBytes} bytes of UTF-8.", nameof(tenant));
        var access = new TenantAccess(tenant, new ClientSecret(secret, secretFile));
        client.Services.AddSingleton(access);
        client.Services.PostConfigure<ClientConnectionOptions>( // behind TLS, whichever of the two was called first
            options => options.ConfigureConnection(connection => connection.Use(access.Prove)));
        client.Services.AddSingleton<IOutgoingGrainCallFilter, TicketCalls>();
        client.Services.AddSingleton<IClientConnectionRetryFilter, RefusedStart>();
        client.Services.AddHostedService<TicketRenewal>();
        client.Services.AddSerializer(serializer => serializer.AddAssembly(typeof(IPrefixGrain).Assembly));
        return client;
    }
}
