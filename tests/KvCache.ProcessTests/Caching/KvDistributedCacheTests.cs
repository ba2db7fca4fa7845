using KvCache.Caching;
using KvCache.Client;
using KvCache.ProcessTests.Caching;
using KvCache.ProcessTests.Infrastructure;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace KvCache.ProcessTests;

/// <summary>The package's cache against a silo.</summary>
[Collection(typeof(CachingSilo))]
public sealed class KvDistributedCacheTests(CachingSilo silo) : DistributedCacheContract
{
    protected override void AddCache(IServiceCollection services) =>
        services.AddSingleton(_ => silo.Process.Connect()).AddKvCacheDistributedCache();

    [Fact]
    public async Task A_key_has_any_length_and_any_characters()
    {
        var cache = new KvDistributedCache(silo.Client);
        string[] keys = ["", "\ud800", "\ud801", new string('k', 100_000), new string('k', 99_999) + "l"];
        for (byte i = 0; i < keys.Length; i++)
            await cache.SetAsync(Key + keys[i], [i], new());
        for (byte i = 0; i < keys.Length; i++)
            Assert.Equal(i, Assert.Single((await cache.GetAsync(Key + keys[i]))!));
    }

    [Fact]
    public async Task Caches_with_other_names_have_other_entries()
    {
        var first = new KvDistributedCache(silo.Client, new() { Name = "first" });
        var second = new KvDistributedCache(silo.Client, new() { Name = "second" });
        await first.SetAsync(Key, [1], new());
        Assert.Null(await second.GetAsync(Key));
    }

    [Fact]
    public async Task An_entry_without_an_expiration_has_the_default_life()
    {
        var cache = new KvDistributedCache(silo.Client, new() { DefaultLife = TimeSpan.FromMilliseconds(300) });
        await cache.SetAsync(Key, [1], new());
        await Eventually.TrueAsync("the entry has ended", async () => await cache.GetAsync(Key) is null);
    }

    [Fact]
    public async Task An_entry_for_which_there_is_no_room_leaves_no_older_one_behind()
    {
        var cache = new KvDistributedCache(silo.Client);
        await cache.SetAsync(Key, [1], new());
        await cache.SetAsync(Key, new byte[300 << 20], new());
        Assert.Null(await cache.GetAsync(Key));
        var strict = new KvDistributedCache(silo.Client, new() { ThrowOnFailure = true });
        var failure = await Assert.ThrowsAsync<IOException>(() => strict.SetAsync(Key, new byte[300 << 20], new()));
        Assert.Contains("TooLarge", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_silo_that_is_gone_is_a_miss_and_only_a_removal_is_told()
    {
        await using var client = new KvCacheClient(new() { Endpoints = { "tcp:127.0.0.1:1" } });
        var cache = new KvDistributedCache(client);
        await cache.SetAsync(Key, [1], new());
        Assert.Null(await cache.GetAsync(Key));
        await cache.RefreshAsync(Key);
        await Assert.ThrowsAsync<IOException>(() => cache.RemoveAsync(Key));

        var strict = new KvDistributedCache(client, new() { ThrowOnFailure = true });
        await Assert.ThrowsAsync<IOException>(() => strict.SetAsync(Key, [1], new()));
        Assert.Null(await strict.GetAsync(Key));
        await Assert.ThrowsAsync<IOException>(() => strict.RefreshAsync(Key));
    }

    [Fact]
    public async Task A_program_registers_client_cache_and_health_check()
    {
        var services = new ServiceCollection().AddLogging();
        services.AddKvCacheClient(options => options.Endpoints.Add(silo.Process.Tcp)).AddKvCacheDistributedCache();
        services.AddHealthChecks().AddKvCache();
        await using var program = services.BuildServiceProvider();
        var cache = program.GetRequiredService<IDistributedCache>();
        await Eventually.TrueAsync("the entry is found", async () =>
        {
            await cache.SetAsync(Key, [1], new());
            return await cache.GetAsync(Key) is [1];
        });
        await Eventually.TrueAsync("the cache is healthy", async () =>
            (await program.GetRequiredService<HealthCheckService>().CheckHealthAsync()).Status == HealthStatus.Healthy);
    }

    [Fact]
    public void Settings_out_of_their_bounds_and_a_missing_client_are_told()
    {
        var services = new ServiceCollection().AddSingleton(silo.Client);
        services.AddKvCacheDistributedCache(options => (options.Replicas, options.DefaultLife) = (17, TimeSpan.Zero));
        using var wrong = services.BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(wrong.GetRequiredService<IDistributedCache>);
        Assert.Equal(2, error.Failures.Count());

        using var alone = new ServiceCollection().AddKvCacheDistributedCache().BuildServiceProvider();
        Assert.Contains(
            "AddKvCacheClient", Assert.Throws<OptionsValidationException>(alone.GetRequiredService<IStartupValidator>().Validate).Message,
            StringComparison.Ordinal);
        using var another = services.AddKvCacheDistributedCache(options => options.Client = "anotther").BuildServiceProvider();
        Assert.Contains(
            "'anotther'", Assert.Throws<OptionsValidationException>(another.GetRequiredService<IDistributedCache>).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Settings_come_from_a_section()
    {
        var settings = new ConfigurationBuilder().AddInMemoryCollection(
            [new("Name", "sessions"), new("DefaultLife", "20m"), new("Replicas", "2"), new("Client", "silo")]).Build();
        await using var program = new ServiceCollection().AddKeyedSingleton("silo", (_, _) => silo.Process.Connect())
            .AddKvCacheDistributedCache(settings).BuildServiceProvider();
        var options = program.GetRequiredService<IOptions<KvDistributedCacheOptions>>().Value;
        Assert.Equal(
            ("sessions", TimeSpan.FromMinutes(20), 2, "silo"),
            (options.Name, options.DefaultLife, options.Replicas, options.Client));
        Assert.NotNull(program.GetRequiredService<IDistributedCache>());

        settings["DefaultLive"] = "20m";
        await using var wrong = new ServiceCollection().AddKeyedSingleton("silo", (_, _) => silo.Process.Connect())
            .AddKvCacheDistributedCache(settings).BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(wrong.GetRequiredService<IStartupValidator>().Validate);
        Assert.Equal("DefaultLive is not a setting; perhaps DefaultLife was meant.", error.Message);
    }
}
