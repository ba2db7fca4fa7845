using System.Net;
using KvCache.Engine.Storage;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Large blocks pass through a silo whose large object heap could not hold one.</summary>
public sealed class HttpStreamTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("http streams", KvLayout.Create(32, 8, 128, KvDataType.Float16, 256));

    [Fact]
    public async Task A_large_block_streams_through_a_small_large_object_heap()
    {
        var ns = Ns with { Layout = KvLayout.Create(32, 8, 128, KvDataType.Float16, 1024) };
        Assert.Equal(128 << 20, ns.Layout.BlockBytes);
        await using var silo =
            await SiloProcess.StartAsync(new SiloSettings(Arena: "160MiB", UseUnix: false, Settings: new Dictionary<string, string>
            {
                ["DOTNET_GCRegionSize"] = "0x100000",
                ["DOTNET_GCHeapHardLimitSOH"] = "0x20000000",
                ["DOTNET_GCHeapHardLimitLOH"] = "0x6000000", // 96 MiB: ample for the silo's own tables, too little for a block
                ["DOTNET_GCHeapHardLimitPOH"] = "0x8000000",
            }));
        using var http = new HttpSilo(silo);
        var prefix = Prefixes.New(ns, 1);
        var path = HttpSilo.Path(await http.RegisterAsync(ns), prefix.Chain.Hashes[0]);
        using (var put = await http.PutAsync(path, Content.Of(prefix, 0)))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        using (var get = await http.Client.GetAsync(path))
            Assert.True(Content.IsRight(await get.Content.ReadAsByteArrayAsync(), prefix.Key(0)));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task A_reader_that_leaves_gives_the_block_back()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "160MiB", UseUnix: false));
        using var http = new HttpSilo(silo);
        var prefix = Prefixes.New(Ns, 1);
        var path = HttpSilo.Path(await http.RegisterAsync(Ns), prefix.Chain.Hashes[0]);
        using (var put = await http.PutAsync(path, Content.Of(prefix, 0)))
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);

        using (var get = await http.Client.GetAsync(path, HttpCompletionOption.ResponseHeadersRead))
        {
            Assert.Equal(HttpStatusCode.OK, get.StatusCode);
            Assert.Equal(1, await LeasesAsync());
        }

        await Eventually.TrueAsync("no block is leased", async () => await LeasesAsync() == 0);
        silo.AssertHealthy();

        async Task<int> LeasesAsync()
        {
            using var response = await http.Client.GetAsync("/v1/stats");
            return (await HttpSilo.JsonAsync(response))["store"]!["leasedBlocks"]!.GetValue<int>();
        }
    }
}
