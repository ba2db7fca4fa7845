using KvCache.Client;
using KvCache.UnitTests.Support;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Xunit;

namespace KvCache.UnitTests;

public sealed class KvCacheServicesTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Of_two_registrations_the_first_one_holds_and_a_container_ends_it_without_waiting()
    {
        KvCacheClient client;
        using (var provider = new ServiceCollection()
            .AddKvCacheClient(options => options.Endpoints.Add("tcp:first:1"))
            .AddKvCacheClient(options => options.Endpoints.Add("tcp:second:2"))
            .BuildServiceProvider())
        {
            client = provider.GetRequiredService<KvCacheClient>();
            Assert.Same(client, provider.GetRequiredService<IKvCache>());
            Assert.Equal(["tcp:first:1"], provider.GetRequiredService<IOptions<KvCacheClientOptions>>().Value.Endpoints);
            Assert.Single(provider.GetServices<IHostedService>());
        }

        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await client.MatchAsync(Names.Prefix(1), default, Token));
    }

    [Fact]
    public void Keys_tell_caches_apart_and_the_first_one_without_a_key_is_the_cache()
    {
        using var provider = new ServiceCollection()
            .AddKeyedKvCacheClient("one", options => options.Endpoints.Add("tcp:one:1"))
            .AddKeyedKvCacheClient("two", options => options.Endpoints.Add("tcp:two:2"))
            .AddKeyedKvCacheClient("two", options => options.Endpoints.Add("tcp:three:3"))
            .AddLocalKvCache(ByteSize.MiB(1))
            .AddTieredKvCache("one", "two")
            .BuildServiceProvider();
        var settings = provider.GetRequiredService<IOptionsMonitor<KvCacheClientOptions>>();
        Assert.Equal(["tcp:one:1", "tcp:two:2"], settings.Get("one").Endpoints.Concat(settings.Get("two").Endpoints));
        Assert.Same(provider.GetRequiredKeyedService<KvCacheClient>("one"), provider.GetRequiredKeyedService<IKvCache>("one"));
        Assert.NotSame(provider.GetRequiredKeyedService<IKvCache>("one"), provider.GetRequiredKeyedService<IKvCache>("two"));
        Assert.Null(provider.GetService<KvCacheClient>());
        Assert.Same(provider.GetRequiredService<LocalKvCache>(), provider.GetRequiredService<IKvCache>());
        Assert.NotNull(provider.GetRequiredService<TieredKvCache>());
    }

    [Fact]
    public async Task A_cache_over_another_one_is_made_of_two_keys()
    {
        await using var provider = new ServiceCollection()
            .AddKeyedLocalKvCache("near", ByteSize.MiB(1))
            .AddKeyedLocalKvCache("far", ByteSize.MiB(1))
            .AddKeyedTieredKvCache("both", "near", "far", TimeSpan.FromSeconds(7))
            .AddTieredKvCache("near", "both")
            .BuildServiceProvider();
        var prefix = Names.Prefix(1);
        var cache = Assert.IsType<TieredKvCache>(provider.GetRequiredService<IKvCache>());
        Assert.Equal(
            (TimeSpan.FromSeconds(7), TimeSpan.FromMinutes(5)),
            (provider.GetRequiredKeyedService<TieredKvCache>("both").NearLife, cache.NearLife));
        await cache.StoreAsync(prefix, 0, Blocks.ToStore(Blocks.Of(prefix, 1)), null, Token);
        foreach (var key in new[] { "near", "far", "both" })
            Assert.Equal(1, (await provider.GetRequiredKeyedService<IKvCache>(key).MatchAsync(prefix, default, Token)).Blocks);
    }

    [Fact]
    public void A_cache_over_a_key_that_nobody_has_registered_is_told_at_start()
    {
        using var provider = new ServiceCollection()
            .AddTieredKvCache("near", "fra").AddKeyedLocalKvCache("near", ByteSize.MiB(1)).BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IStartupValidator>().Validate());
        Assert.Contains("'fra'", Assert.Single(error.Failures), StringComparison.Ordinal);
        Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IKvCache>());
    }

    [Theory]
    [InlineData("silo", "with the key 'silo'")]
    [InlineData(null, "without a key")]
    public async Task A_health_check_of_a_cache_that_nobody_has_registered_is_told_at_start(string? key, string words)
    {
        await using var provider = new ServiceCollection().AddLogging()
            .AddKeyedLocalKvCache("near", ByteSize.MiB(1)).AddHealthChecks().AddKvCache(cache: key).Services.BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IStartupValidator>().Validate());
        Assert.Contains(words, Assert.Single(error.Failures), StringComparison.Ordinal);
    }

    [Fact]
    public void A_cache_is_not_made_of_itself()
    {
        var services = new ServiceCollection().AddKeyedLocalKvCache("memory", ByteSize.MiB(1))
            .AddKeyedTieredKvCache("one", "memory", "two").AddKeyedTieredKvCache("two", "memory", "three");
        Assert.Throws<ArgumentException>(() => services.AddKeyedTieredKvCache("three", "memory", "one"));
        Assert.Throws<ArgumentException>(() => services.AddKeyedTieredKvCache("three", "two", "memory"));
        Assert.NotNull(services.AddKeyedTieredKvCache("three", "memory", "four"));
    }

    [Fact]
    public void Registrations_that_cannot_be_are_refused_at_once()
    {
        var services = new ServiceCollection();
        Assert.Throws<ArgumentException>(() => services.AddTieredKvCache("one", "one"));
        Assert.Throws<ArgumentException>(() => services.AddKeyedTieredKvCache("one", "one", "two"));
        Assert.Throws<ArgumentException>(() => services.AddKeyedKvCacheClient("", _ => { }));
        Assert.Throws<ArgumentNullException>(() => services.AddKvCacheClient((IConfiguration)null!));
        Assert.Throws<ArgumentNullException>(() => services.AddKvCacheClient((Action<KvCacheClientOptions>)null!));
        Assert.Throws<ArgumentOutOfRangeException>(() => services.AddLocalKvCache(default));
        Assert.Throws<ArgumentOutOfRangeException>(() => services.AddTieredKvCache("one", "two", TimeSpan.Zero));
        Assert.Empty(services);
    }

    [Fact]
    public void Settings_come_from_a_section()
    {
        using var provider = new ServiceCollection().AddKeyedKvCacheClient("silo", Read(
            ("Endpoints:0", "tcp:silo:7400"), ("tenant", "acme"), ("MatchTimeout", "00:00:02"), ("LoadTimeout", "1.5s"),
            ("SocketBuffer", "2MiB"), ("Secret", null), ("Tls:ServerName", "inside"), ("Tls:CaFile", null))).BuildServiceProvider();
        var options = provider.GetRequiredService<IOptionsMonitor<KvCacheClientOptions>>().Get("silo");
        Assert.Equal(
            ("tcp:silo:7400", "acme", TimeSpan.FromSeconds(2), ByteSize.MiB(2), "inside"),
            (options.Endpoints.Single(), options.Tenant, options.MatchTimeout, options.SocketBuffer, options.Tls.ServerName));
        Assert.Equal(TimeSpan.FromMilliseconds(1500), options.LoadTimeout);
    }

    [Fact]
    public void A_text_that_is_null_is_empty_and_a_tenant_can_be_one()
    {
        var options = new KvCacheClientOptions
        {
            Endpoints = { "tcp:silo:7400" },
            Tenant = null!,
            Secret = null!,
            SecretFile = null!,
            Tls = { CaFile = null!, ServerName = null!, CertificateFile = null!, KeyFile = null!, Password = null! },
        };
        Assert.StartsWith("Tenant is empty", Assert.Single(options.Validate()), StringComparison.Ordinal);
        options.Tenant = new string('t', CacheNamespace.MaxTextBytes + 1);
        Assert.StartsWith("Tenant has 257 bytes", Assert.Single(options.Validate()), StringComparison.Ordinal);
        options.Tenant = "\ud800";
        Assert.StartsWith("Tenant is not well-formed UTF-16", Assert.Single(options.Validate()), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("MaxSilos", "-1", "MaxSilos is -1; 0 to 1024 was expected.")]
    [InlineData("Endpoints:1", "silo:7400", "'silo:7400' is not an address")]
    [InlineData("Tennant", "acme", "Cache:Tennant is not a setting; perhaps Tenant was meant.")]
    [InlineData("Tls:CaFlie", "ca.pem", "Cache:Tls:CaFlie is not a setting; perhaps CaFile was meant.")]
    [InlineData("MatchTimeout", "soon", "Cache:MatchTimeout is 'soon'; a time was expected, such as 00:00:02, 2s or 500ms")]
    [InlineData("LeaseLife", "1", "Cache:LeaseLife is '1'; a time was expected")] // a day, to .NET
    [InlineData("DataConnections", "many", "Cache:DataConnections is 'many'; a whole number was expected.")]
    [InlineData("SocketBuffer", "-1", "Cache:SocketBuffer is '-1'; a size such as 512MiB or 4GiB was expected.")]
    [InlineData("SharedMemory", "ja", "Cache:SharedMemory is 'ja'; true or false was expected.")]
    [InlineData("Endpoints", "tcp:silo:1", "Cache:Endpoints is 'tcp:silo:1'; a list was expected, such as Cache:Endpoints:0.")]
    [InlineData("Tls", "on", "Cache:Tls is 'on'; settings below it were expected, such as Cache:Tls:CaFile.")]
    [InlineData("Tenant:Name", "acme", "Cache:Tenant has settings below it; one value was expected.")]
    public void Wrong_settings_of_a_section_are_told_at_start(string key, string value, string problem)
    {
        using var provider = new ServiceCollection()
            .AddKvCacheClient(Read(("Endpoints:0", "tcp:silo:7400"), (key, value))).BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IStartupValidator>().Validate());
        Assert.Contains(problem, Assert.Single(error.Failures), StringComparison.Ordinal);
        Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IKvCache>()); // a program without a host
    }

    [Fact]
    public async Task A_health_check_asks_the_cache_of_its_key()
    {
        await using var provider = new ServiceCollection()
            .AddLogging()
            .AddKeyedLocalKvCache("here", ByteSize.MiB(1))
            .AddKvCacheClient(options => options.Endpoints.Add("unix:/nowhere/data.sock"))
            .AddHealthChecks()
            .AddKvCache("near", "here").AddKvCache().AddKvCache("must", failureStatus: HealthStatus.Unhealthy, tags: ["all"])
            .Services.BuildServiceProvider();
        var report = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync(Token);
        Assert.Equal(
            (HealthStatus.Healthy, HealthStatus.Degraded, HealthStatus.Unhealthy),
            (report.Entries["near"].Status, report.Entries["kvcache"].Status, report.Entries["must"].Status));
        Assert.NotNull(report.Entries["kvcache"].Description);
        Assert.Equal(["all"], report.Entries["must"].Tags);
    }

    private static IConfigurationSection Read(params (string Key, string? Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(values.ToDictionary(pair => $"Cache:{pair.Key}", pair => pair.Value)).Build().GetSection("Cache");
}
