using KvCache.Orleans;
using KvCache.Testing;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;

namespace KvCache.ClusterTests.Infrastructure;

/// <summary>Clusters inside the process, with a client of a tenant.</summary>
internal static class TestClusters
{
    /// <summary>Starts a cluster whose silos know each other, then its client: Orleans' own wait asks the silos for what no tenant's client
    /// may.</summary>
    /// <param name="builder">The cluster.</param>
    public static async Task<InProcessTestCluster> DeployAsync(this InProcessTestClusterBuilder builder)
    {
        builder.Options.InitializeClientOnDeploy = false;
        builder.ConfigureClient(client => client.UseKvCacheTenant("default"));
        var cluster = builder.Build();
        await cluster.DeployAsync();
        await Eventually.TrueAsync("all silos know each other", () => cluster.Silos.All(silo =>
            silo.ServiceProvider.GetRequiredService<ISiloStatusOracle>().GetApproximateSiloStatuses(onlyActive: true).Count
                == cluster.Silos.Count));
        await cluster.InitializeClientAsync();
        return cluster;
    }
}
