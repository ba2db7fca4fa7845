using KvCache.Bench.Lookup;
using KvCache.Bench.Processes;
using KvCache.Engine.Index;
using KvCache.Grains.Prefixes;
using KvCache.Processes;
using KvCache.Silo.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Hosting;

namespace KvCache.Bench.Silos;

/// <summary>
/// The hidden <c>indexed-silo</c> command: the silo program's own services, and an index that says that this silo holds all blocks. Serves
/// until it is asked to end.
/// </summary>
/// <remarks>
/// Only the blocks are not real: a million puts would take minutes and gigabytes of arena, none of which a look-up touches.
/// </remarks>
internal static class IndexedSiloHost
{
    public static async Task<int> RunAsync(string folder, int blocks, CancellationToken ended)
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KvCache:Arena:Size"] = "64MiB",
            ["KvCache:DataPlane:Tcp"] = "127.0.0.1:0",
            ["KvCache:DataPlane:Unix"] = Path.Combine(folder, "silo.sock"),
            ["KvCache:Cluster:MaxIndexEntries"] = (2 * blocks).ToString(System.Globalization.CultureInfo.InvariantCulture),
        });
        builder.UseOrleans(silo => silo
            .UseLocalhostClustering(LoopbackPort.FindFree(), LoopbackPort.FindFree())
            .AddMemoryGrainStorage(PrefixDescriptor.StorageName)
            .AddKvCache(builder.Configuration));
        using var host = builder.Build();
        await host.StartAsync(ended);
        var directory = host.Services.GetRequiredService<BlockDirectory>();
        foreach (ref readonly var hash in LookupChains.Stored(blocks).All)
            directory.Index.Add(new BlockKey(LookupChains.Namespace.Id, hash), BlockDirectory.Self);
        await OwnServer.ServeAsync(host.Services.GetRequiredService<IDataPlaneAddresses>().Endpoints, ended);
        await host.StopAsync(CancellationToken.None);
        return 0;
    }
}
