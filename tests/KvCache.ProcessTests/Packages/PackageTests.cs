using System.Diagnostics;
using System.IO.Compression;
using System.Xml.Linq;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Silo.Hosting;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>What somebody gets who has the packages and not the repository.</summary>
public sealed class PackageTests(PackageFeed feed) : IClassFixture<PackageFeed>
{
    private const long MaxConsumerBytes = 3_000_000;

    [Fact]
    public async Task A_fresh_program_stores_and_loads_through_a_silo_with_the_client_package_alone()
    {
        await using var silo = await SiloProcess.StartAsync();
        var output = await feed.BuildAsync("consumer", "KvCache.Client", """
            using KvCache;
            using KvCache.Client;

            await using IKvCache cache = new KvCacheClient(new KvCacheClientOptions { Endpoints = { args[0] }, LoadTimeout = TimeSpan.FromMinutes(1) });
            var ns = new CacheNamespace { Tenant = "default", Model = "m", Revision = "1", Layout = KvLayout.Create(2, 2, 16, KvDataType.Float16, 4) };
            var prefix = KvPrefix.Of(ns, [1, 2, 3, 4, 5, 6, 7, 8]);
            var block = new byte[ns.Layout.BlockBytes];
            new Random(1).NextBytes(block);
            var stored = await cache.StoreAsync(prefix, 0, [block, block]);
            var loaded = new byte[ns.Layout.BlockBytes];
            var result = await cache.LoadAsync(prefix, 1, [loaded]);
            Console.WriteLine($"stored {stored.Stored}, loaded {result.Blocks}, equal {loaded.AsSpan().SequenceEqual(block)}");
            """);

        Assert.Equal(
            "stored 2, loaded 1, equal True", await PackageFeed.RunAsync("dotnet", $"{Path.Combine(output, "consumer.dll")} {silo.Tcp}"));
        var files = Directory.GetFiles(output);
        TestContext.Current.TestOutputHelper!.WriteLine(
            string.Join('\n', files.Select(file => $"{new FileInfo(file).Length,9} {Path.GetFileName(file)}")));
        Assert.InRange(files.Sum(file => new FileInfo(file).Length), 1, MaxConsumerBytes);
        Assert.DoesNotContain(files, file => Path.GetFileName(file).Contains("Orleans", StringComparison.Ordinal));
        Assert.DoesNotContain(files, file => Path.GetFileName(file).Contains("Torch", StringComparison.Ordinal));
    }

    [Fact]
    [Trait("run", "long")]
    public async Task The_code_of_the_README_compiles_against_the_packages_and_runs()
    {
        var text = await File.ReadAllTextAsync(Path.Combine(Repository.Root, "README.md"));
        var start = text.IndexOf("```csharp run\n", StringComparison.Ordinal) + "```csharp run\n".Length;
        var program = text[start..text.IndexOf("```", start, StringComparison.Ordinal)];
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "128MiB"));
        var output = await feed.BuildAsync(
            "readme", "KvCache.TorchSharp", program.Replace("unix:/run/kvcache/silo.sock", silo.Unix, StringComparison.Ordinal),
            "libtorch-cpu-linux-x64");

        var readme = Path.Combine(output, "readme.dll");
        Assert.Equal("0 blocks loaded, 2 stored", await PackageFeed.RunAsync("dotnet", readme));
        Assert.Equal("2 blocks loaded, 0 stored", await PackageFeed.RunAsync("dotnet", readme));
    }

    [Theory]
    [InlineData("KvCache.Core")]
    [InlineData("KvCache.Engine")]
    [InlineData("KvCache.Client")]
    [InlineData("KvCache.TorchSharp")]
    [InlineData("KvCache.Orleans")]
    [InlineData("KvCache.Redis")]
    [InlineData("KvCache.Caching")]
    [InlineData("KvCache.LLamaSharp")]
    [InlineData("KvCache.Benchmarks")]
    [InlineData("KvCache.Silo")]
    public void A_package_says_what_it_is(string id)
    {
        using var package = ZipFile.OpenRead(feed.PackageOf(id));
        using var stream = package.Entries.Single(entry => entry.FullName == $"{id}.nuspec").Open();
        var metadata = XDocument.Load(stream).Root!.Elements().Single(element => element.Name.LocalName == "metadata");
        string Value(string name) => metadata.Elements().SingleOrDefault(element => element.Name.LocalName == name)?.Value ?? "";

        Assert.True(Value("description").Length > 40, $"The description of {id} is '{Value("description")}'.");
        Assert.Contains("kv-cache", Value("tags"), StringComparison.Ordinal);
        Assert.Equal("MIT", Value("license"));
        Assert.NotNull(package.GetEntry(Value("readme")));
        Assert.True(File.Exists(Path.ChangeExtension(feed.PackageOf(id), ".snupkg")), $"{id} has no symbols.");
        var ours = metadata.Descendants()
            .Where(element => element.Name.LocalName == "dependency"
            && element.Attribute("id")!.Value.StartsWith("KvCache.", StringComparison.Ordinal));
        Assert.All(ours, dependency => Assert.Equal($"[{Value("version")}]", dependency.Attribute("version")!.Value));
        if (id != "KvCache.Silo") // a tool: its package holds a program
            Assert.NotNull(package.GetEntry($"lib/net10.0/{id}.xml"));
    }

    [Fact]
    public void Nothing_else_is_packed() => Assert.Equal(10, Directory.GetFiles(feed.Folder, "*.nupkg").Length);
}
