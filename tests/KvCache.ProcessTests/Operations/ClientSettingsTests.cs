using KvCache.Caching;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.TorchSharp;
using Microsoft.Extensions.Options;

namespace KvCache.ProcessTests;

public sealed class ClientSettingsTests(GuardedSilo silo) : IClassFixture<GuardedSilo>
{
    [Fact]
    public async Task A_wrong_secret_is_an_exception_at_connect_that_says_so()
    {
        await using var client = silo.Connect(secret: "not the secret");

        var error = await Assert.ThrowsAsync<SiloException>(async () => await client.ConnectAsync());

        Assert.Equal(WireStatus.AuthenticationFailed, error.Status);
        Assert.Contains("The tenant is unknown or its secret is another one", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task In_calls_a_wrong_secret_is_a_miss_that_says_so()
    {
        var words = $"tenant {GuardedSilo.Tenant}: the secret was refused by {silo.Process.Tcp}";
        await using var client = silo.Connect(secret: "not the secret");
        var prefix = Prefixes.New(Prefixes.Namespace("m", KvLayout.Opaque(64, 1), GuardedSilo.Tenant), 1);

        for (var i = 0; i < 10; i++)
        {
            var result = await client.LoadAsync(prefix, 0, prefix.Memory(1));
            Assert.Equal(0, result.Blocks);
            Assert.True(result.Reason is MissReason.Refused or MissReason.Unavailable, $"{result}");
            Assert.Equal(words, result.Error);
            Assert.Equal(0, (await client.StoreAsync(prefix, 0, prefix.Blocks())).Stored);
        }

        Assert.Equal(words, (await client.GetStatisticsAsync()).LastError);
        var health = await client.GetHealthAsync();
        Assert.Equal((false, words), (health.IsAvailable, health.Problem));
        await Assert.ThrowsAsync<SiloException>(async () => await client.ConnectAsync()); // although the silo is left alone by now
    }

    [Fact]
    public async Task A_namespace_of_another_tenant_is_a_miss()
    {
        await using var client = silo.Connect();
        var prefix = Prefixes.New(Prefixes.Namespace("m", KvLayout.Opaque(64, 1), GuardedSilo.OtherTenant), 1);

        Assert.Equal(new LoadResult(0, MissReason.Refused), await client.LoadAsync(prefix, 0, prefix.Memory(1)));
    }

    [Fact]
    public async Task What_is_refused_for_its_namespace_costs_the_calls_beside_it_nothing()
    {
        await using var client = silo.Connect();
        var foreign = Prefixes.New(Prefixes.Namespace("m", KvLayout.Opaque(64, 1), GuardedSilo.OtherTenant), 1);
        var own = Prefixes.New(Prefixes.Namespace("m", KvLayout.Opaque(64, 1), GuardedSilo.Tenant), 1);
        Assert.Equal(1, (await client.StoreAsync(own, 0, own.Blocks())).Stored);
        await using var held = await client.MatchAsync(own, TimeSpan.FromMinutes(1));

        for (var i = 0; i < 2 * new KvCacheClientOptions().BreakerFailures; i++)
        {
            Assert.Equal(MissReason.Refused, (await client.MatchAsync(foreign)).Reason);
            Assert.Equal(MissReason.Refused, (await client.StoreAsync(foreign, 0, foreign.Blocks())).Reason);
            Assert.Equal(new LoadResult(0, MissReason.Refused), await client.LoadAsync(foreign, 0, foreign.Memory(1)));
        }

        Assert.Equal(1, (await client.MatchAsync(own)).Blocks);
        Assert.Equal(new LoadResult(1, MissReason.None), await client.LoadAsync(own, 0, own.Memory(1), match: held));
        Assert.False((await client.GetStatisticsAsync()).Silos[0].IsLeftAlone);
    }

    [Fact]
    public async Task Where_nobody_listens_connect_says_no_and_calls_are_misses()
    {
        await using var client = silo.Process.Connect("unix:/nowhere/data.sock");
        var prefix = Prefixes.New(Prefixes.Namespace("m", KvLayout.Opaque(64, 1)), 1);

        Assert.False(await client.ConnectAsync());
        Assert.Equal(new LoadResult(0, MissReason.Unavailable), await client.LoadAsync(prefix, 0, prefix.Memory(1)));
        Assert.Equal(MissReason.Unavailable, (await client.StoreAsync(prefix, 0, prefix.Blocks())).Reason);
        Assert.Equal(0, await client.PinAsync(prefix, TimeSpan.FromSeconds(1)));
        Assert.Null((await client.GetStatisticsAsync()).Silo);
    }

    [Theory]
    [InlineData("")]
    [InlineData("127.0.0.1:7400")]
    [InlineData("tcp:127.0.0.1")]
    [InlineData("tcp:127.0.0.1:0")]
    [InlineData("tcp::7400")]
    [InlineData("unix:relative.sock")]
    [InlineData("http://127.0.0.1:7400")]
    public void An_endpoint_that_is_no_address_is_told(string endpoint)
    {
        var error = Assert.Throws<OptionsValidationException>(
            () => silo.Process.Connect(configure: options => options.Endpoints.Add(endpoint)));

        Assert.Contains("tcp:host:port, tls:host:port or unix:/path was expected", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Settings_out_of_bounds_are_told()
    {
        Assert.Throws<OptionsValidationException>(() => new KvCacheClient(new KvCacheClientOptions()));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.DataConnections = 0));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.LoadTimeout = TimeSpan.Zero));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.BreakerFailures = 0));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.SiloPatience = TimeSpan.Zero));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.MaxSilos = -1));
        Assert.Throws<OptionsValidationException>(() => silo.Process.Connect(configure: options => options.Tenant = ""));
    }
}
