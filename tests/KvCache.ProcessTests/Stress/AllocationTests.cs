using System.Diagnostics.Tracing;
using System.Net;
using System.Net.Sockets;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Grains.Prefixes;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Hosting;
using KvCache.Testing;
using KvCache.TorchSharp;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace KvCache.ProcessTests;

/// <summary>Blocks of 32 MiB move without managed memory: nothing per byte, little per block, nothing on the large object heap.</summary>
[Collection(typeof(Apart))]
public sealed class AllocationTests
{
    private const int Blocks = 8;

    private static readonly CacheNamespace Ns = Prefixes.Namespace("allocations", KvLayout.Create(32, 8, 128, KvDataType.Float16, 256));

    // layers of 1 MiB
    private static readonly CacheNamespace Layered = Prefixes.Namespace("layered", KvLayout.Create(8, 8, 128, KvDataType.Float16, 256));

    [Fact]
    public async Task A_client_allocates_less_than_four_kibibytes_per_block()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "160MiB"));
        await using var client = silo.Connect();
        var prefixes = Enumerable.Range(0, Blocks).Select(_ => Prefixes.New(Ns, 1)).ToArray();
        var blocks = prefixes[0].Blocks();
        var memory = prefixes[0].Memory(1);
        long put = long.MaxValue, get = long.MaxValue;

        // The least of some rounds: other threads of the test program allocate too, now and then.
        foreach (var prefix in prefixes)
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            var stored = await client.StoreAsync(prefix, 0, blocks);
            put = Math.Min(put, GC.GetTotalAllocatedBytes(precise: true) - before);
            before = GC.GetTotalAllocatedBytes(precise: true);
            var loaded = await client.LoadAsync(prefix, 0, memory);
            get = Math.Min(get, GC.GetTotalAllocatedBytes(precise: true) - before);
            Assert.Equal((1, 1), (stored.Stored, loaded.Blocks));
        }

        Report.Line($"The client allocates {put} bytes per put and {get} bytes per get of {Ns.Layout.BlockBytes >> 20} MiB.");
        Assert.InRange(put, 0, 4096);
        Assert.InRange(get, 0, 4096);
    }

    [Fact]
    public async Task A_layer_of_a_block_costs_few_and_small_objects()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "160MiB"));
        await using var client = silo.Connect();
        var prefix = Prefixes.New(Layered, 4);
        await client.MustStoreAsync(prefix);
        var memory = prefix.Memory(4);
        var least = long.MaxValue;
        for (var round = 0; round < 10; round++)
        {
            var (layers, before) = (0, GC.GetTotalAllocatedBytes(precise: true));
            await foreach (var loaded in client.LoadLayersAsync(prefix, 0, memory))
                layers += loaded.Blocks == 4 ? 1 : 0;
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
            Assert.Equal(8, layers);
        }

        Report.Line($"The client allocates {least} bytes for 8 layers of 4 blocks, 32 MiB.");
        Assert.InRange(least, 0, 8192); // most of it once a load
    }

    [Fact]
    public async Task Neither_silo_nor_client_touches_the_large_object_heap()
    {
        using var host = await StartSiloAsync();
        var options = new KvCacheClientOptions { LoadTimeout = Eventually.Bound };
        options.Endpoints.Add(host.Services.GetRequiredService<IDataPlaneAddresses>().Endpoints[0]);
        await using var client = new KvCacheClient(options);
        var warm = Prefixes.New(Ns, 1);
        var prefixes = Enumerable.Range(0, Blocks).Select(_ => Prefixes.New(Ns, 1)).ToArray();
        var blocks = warm.Blocks();
        var memory = warm.Memory(1);
        await client.StoreAsync(warm, 0, blocks);
        await client.LoadAsync(warm, 0, memory);
        var before = LargeObjectHeapBytes();
        using var listener = new LargeObjectListener();

        foreach (var prefix in prefixes)
        {
            Assert.Equal(1, (await client.StoreAsync(prefix, 0, blocks)).Stored);
            Assert.Equal(1, (await client.LoadAsync(prefix, 0, memory)).Blocks);
        }

        // The runtime's events arrive later and in order: what lies before this one is all there was.
        GC.KeepAlive(new short[1 << 20]);
        await Eventually.TrueAsync("the listener has heard of a large object", () => listener.Allocations.Length > 0);
        Assert.StartsWith("System.Int16[]", listener.Allocations[0], StringComparison.Ordinal);
        Assert.InRange(LargeObjectHeapBytes() - before, long.MinValue, 3 << 20);
        await host.StopAsync();
    }

    private static long LargeObjectHeapBytes()
    {
        GC.Collect(2, GCCollectionMode.Forced, blocking: true);
        return GC.GetGCMemoryInfo(GCKind.Any).GenerationInfo[3].SizeAfterBytes;
    }

    private static async Task<IHost> StartSiloAsync()
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KvCache:Arena:Size"] = "160MiB",
            ["KvCache:DataPlane:Tcp"] = "127.0.0.1:0",
        });
        var (silo, gateway) = (FreePort(), FreePort());
        builder.UseOrleans(orleans => orleans
            .UseLocalhostClustering(silo, gateway)
            .AddMemoryGrainStorage(PrefixDescriptor.StorageName)
            .AddKvCache(builder.Configuration));
        var host = builder.Build();
        await host.StartAsync();
        var store = host.Services.GetRequiredService<BlockStore>();
        await Eventually.TrueAsync("the arena is committed", () => store.Arena.CommittedBytes == store.Arena.Capacity);
        return host;
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    /// <summary>Hears of every allocation on the large object heap of this process, through the runtime's allocation ticks.</summary>
    private sealed class LargeObjectListener : EventListener
    {
        private const EventKeywords GarbageCollection = (EventKeywords)1;
        private const uint Large = 1;

        private readonly List<string> _allocations = [];

        public string[] Allocations
        {
            get
            {
                lock (_allocations)
                    return [.. _allocations];
            }
        }

        protected override void OnEventSourceCreated(EventSource eventSource)
        {
            if (eventSource.Name == "Microsoft-Windows-DotNETRuntime")
                EnableEvents(eventSource, EventLevel.Verbose, GarbageCollection);
        }

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventName?.StartsWith("GCAllocationTick", StringComparison.Ordinal) != true
                || (uint)eventData.Payload![1]! != Large)
                return;
            lock (_allocations)
                _allocations.Add($"{eventData.Payload[5]}, {eventData.Payload[0]} bytes");
        }
    }
}
