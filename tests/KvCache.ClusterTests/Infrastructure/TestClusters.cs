using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.Silo.Security;
using KvCache.Testing;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;

namespace KvCache.ClusterTests.Infrastructure;

/// <summary>Clusters inside the process, with a client of their tenant.</summary>
internal static class TestClusters
{
    /// <summary>Starts a cluster whose silos know each other, then its client: Orleans' own wait asks the silos for what no tenant's client
    /// may.</summary>
    /// <param name="builder">The cluster.</param>
    public static async Task<InProcessTestCluster> DeployAsync(this InProcessTestClusterBuilder builder)
    {
        InProcessTestCluster cluster = null!;
        builder.Options.InitializeClientOnDeploy = false;
        builder.ConfigureClient(client =>
        {
            client.UseKvCacheTenant("default");
            client.Services.AddSingleton<IOutgoingGrainCallFilter>(new MarkedCalls(() => cluster));
        });
        cluster = builder.Build();
        await cluster.DeployAsync();
        await Eventually.TrueAsync("all silos know each other", () => cluster.Silos.All(silo =>
            silo.ServiceProvider.GetRequiredService<ISiloStatusOracle>().GetApproximateSiloStatuses(onlyActive: true).Count
                == cluster.Silos.Count));
        await cluster.InitializeClientAsync();
        return cluster;
    }

    // Tests move the clock past the end of the client's ticket; a mark of a silo has no end.
    private sealed class MarkedCalls(Func<InProcessTestCluster> cluster) : IOutgoingGrainCallFilter
    {
        public async Task Invoke(IOutgoingGrainCallContext context)
        {
            RequestContext.Set(CallMarks.Key, cluster().Silos[0].ServiceProvider.GetRequiredService<CallGuard>().Mark);
            await context.Invoke();
        }
    }
}
