using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Who may join a cluster.</summary>
public sealed class ClusterSecretTests
{
    private const string Secret = "a secret of all the silos", Other = "another secret of the silos";

    private static readonly string[] FreePorts =
        ["--arena", "2MiB", "--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0"];

    [Theory]
    [InlineData(Other)]
    [InlineData("")]
    public async Task A_silo_with_a_wrong_secret_says_so_and_ends_and_the_cluster_goes_on(string wrong)
    {
        await using var first = await SiloProcess.StartAsync(Localhost((nameof(Secret), Secret)));

        var second = await Report.RunAsync(
            ProgramCommand.Silo(
                [.. FreePorts, "--cluster", "localhost", "--primary", $"{first.Ready.SiloPort}"],
                new Dictionary<string, string> { ["KvCache:Cluster:Secret"] = wrong }), Eventually.Bound);

        Assert.Equal(2, second.ExitCode);
        var sentence = Assert.Single(second.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains("does not let this one in", sentence, StringComparison.Ordinal);
        Assert.Contains("KvCache:Cluster:Secret", sentence, StringComparison.Ordinal);
        Assert.Contains("was turned away at Orleans' Silo port: its proof is wrong", first.Log, StringComparison.Ordinal);
        first.AssertHealthy();
    }

    [Fact]
    public async Task A_silo_with_a_wrong_secret_does_not_join_through_Redis()
    {
        using var redis = RedisProcess.Start();
        await using var first =
            await SiloProcess.StartAsync(
            Localhost((nameof(Secret), Secret)) with { Arguments = ["--cluster", "redis", "--redis", redis.Tcp] });

        var second = await Report.RunAsync(
            ProgramCommand.Silo(
                [.. FreePorts, "--cluster", "redis", "--redis", redis.Tcp],
                new Dictionary<string, string> { ["KvCache:Cluster:Secret"] = Other }), Eventually.Bound);

        Assert.Equal(2, second.ExitCode);
        Assert.Contains("does not let this one in", second.Errors, StringComparison.Ordinal);
        first.AssertHealthy(lostOthers: true); // it was in the list of members already, and then it was gone
    }

    [Fact]
    public async Task Silos_know_each_other_while_the_secret_is_exchanged()
    {
        await using var first = await SiloProcess.StartAsync(Localhost((nameof(Secret), Secret), ("OtherSecret", Other)));
        await using var second =
            await SiloProcess.StartAsync(
            Localhost((nameof(Secret), Other),
            ("OtherSecret", Secret)) with
            { Arguments = ["--cluster", "localhost", "--primary", $"{first.Ready.SiloPort}"] });

        foreach (var silo in new[] { first, second })
        {
            using var http = new HttpClient();
            await Eventually.TrueAsync(
                "the silos see each other", async () =>
                Metrics.Value(await http.GetStringAsync(new Uri($"{silo.Ready.Http}/metrics")), "kvcache_cluster_peers", "") == 1);
        }
    }

    [Theory]
    [InlineData("Redis", "", "", "Secret is empty")]
    [InlineData("Localhost", "short", "", "Secret is too short")]
    [InlineData("Localhost", Secret, "short", "OtherSecret is too short")]
    [InlineData("Localhost", "", Other, "OtherSecret is set")]
    public async Task A_secret_that_does_not_do_ends_the_start_with_one_sentence(string mode, string secret, string other, string words)
    {
        var result = await Report.RunAsync(ProgramCommand.Silo(FreePorts, new Dictionary<string, string>
        {
            ["KvCache:Cluster:Mode"] = mode,
            ["KvCache:Cluster:Secret"] = secret,
            ["KvCache:Cluster:OtherSecret"] = other,
            ["KvCache:Redis:ConnectionString"] = mode == "Redis" ? "127.0.0.1:1" : "",
        }), Eventually.Bound);

        Assert.Equal(2, result.ExitCode);
        Assert.Contains(words, Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_empty_secret_is_told_at_the_start()
    {
        await using var silo = await SiloProcess.StartAsync(Localhost());

        Assert.Contains("KvCache:Cluster:Secret is empty", silo.Log, StringComparison.Ordinal);
    }

    private static SiloSettings Localhost(params (string Name, string Value)[] settings) =>
        new(UseUnix: false, Arguments: ["--cluster", "localhost"],
            Settings: settings.ToDictionary(setting => $"KvCache:Cluster:{setting.Name}", setting => setting.Value));
}
