using System.Net;
using KvCache.Orleans;
using KvCache.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Metadata;
using Orleans.Runtime;

namespace KvCache.ProcessTests.Security;

/// <summary>A program with an Orleans client, as a tenant's or as a hostile one.</summary>
internal sealed class OrleansClient : IAsyncDisposable
{
    private readonly IHost _host;

    private OrleansClient(IHost host) => _host = host;

    public IGrainFactory Grains => Service<IGrainFactory>();

    /// <summary>The silos of the cluster, as every client learns them.</summary>
    // without the client itself
    public IReadOnlyList<SiloAddress> Silos =>
        [.. Service<IClusterManifestProvider>().Current.Silos.Keys.Where(silo => silo.Endpoint.Port != 0)];

    public IServiceProvider Services => _host.Services;

    /// <summary>A client that has not connected yet.</summary>
    /// <param name="gateway">Port of a gateway.</param>
    /// <param name="tenant">Its tenant; null for a client without any proof.</param>
    /// <param name="secret">Its secret.</param>
    /// <param name="configure">What else it does.</param>
    /// <param name="secretFile">A file with its secret instead.</param>
    public static OrleansClient Create(
        int gateway, string? tenant, string secret = "", Action<IClientBuilder>? configure = null, string secretFile = "")
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.UseOrleansClient(client =>
        {
            client.UseStaticClustering(new IPEndPoint(IPAddress.Loopback, gateway));
            client.Configure<global::Orleans.Configuration.ClusterOptions>(cluster => cluster.ClusterId = cluster.ServiceId = "kvcache");
            client.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = Eventually.Bound);
            if (tenant is not null)
                client.UseKvCacheTenant(tenant, secret, secretFile);
            configure?.Invoke(client);
        });
        return new OrleansClient(builder.Build());
    }

    /// <summary>A client that has connected.</summary>
    public static async Task<OrleansClient> StartAsync(
        int gateway, string? tenant, string secret = "", Action<IClientBuilder>? configure = null, string secretFile = "")
    {
        var client = Create(gateway, tenant, secret, configure, secretFile);
        try
        {
            await client.StartAsync(Eventually.Bound);
            return client;
        }
        catch
        {
            await client.DisposeAsync();
            throw;
        }
    }

    public async Task StartAsync(TimeSpan within)
    {
        using var limit = new CancellationTokenSource(within);
        await _host.StartAsync(limit.Token);
    }

    public T Service<T>()
        where T : notnull => _host.Services.GetRequiredService<T>();

    public async ValueTask DisposeAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await _host.StopAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _host.Dispose();
    }
}
