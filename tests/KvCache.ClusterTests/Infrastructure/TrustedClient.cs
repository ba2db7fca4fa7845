using KvCache.Orleans;
using KvCache.Orleans.Access;
using KvCache.Silo.Security;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;

namespace KvCache.ClusterTests.Infrastructure;

/// <summary>
/// The client of a test cluster, which asks the silos for more than a tenant's may: it comes through the gateway as the tenant, and calls
/// with the
/// mark of a silo.
/// </summary>
internal static class TrustedClient
{
    /// <param name="builder">The cluster.</param>
    /// <param name="cluster">The cluster when it is built.</param>
    public static void Configure(InProcessTestClusterBuilder builder, Func<InProcessTestCluster> cluster) =>
        builder.ConfigureClient(client =>
    {
        client.UseKvCacheTenant("default", "");
        client.Services.AddSingleton<IOutgoingGrainCallFilter>(new MarkedCalls(cluster));
    });

    private sealed class MarkedCalls(Func<InProcessTestCluster> cluster) : IOutgoingGrainCallFilter
    {
        public async Task Invoke(IOutgoingGrainCallContext context)
        {
            RequestContext.Set(CallMarks.Key, cluster().Silos[0].ServiceProvider.GetRequiredService<CallGuard>().Mark);
            await context.Invoke();
        }
    }
}
