using System.Diagnostics;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>How silos end when something around them is away, and how they do not start without it.</summary>
[Trait("run", "kills")]
public sealed class EndTests
{
    private static readonly Dictionary<string, string> Secret = new() { ["KvCache:Cluster:Secret"] = "a secret of the cluster's silos" };

    [Theory]
    [InlineData("frozen")]
    [InlineData("killed")]
    public async Task A_silo_that_is_asked_to_end_while_redis_is_away_ends_within_seconds_and_leaves_no_files(string how)
    {
        using var redis = RedisProcess.Start();
        var arena = $"/dev/shm/kvcache-test-{Guid.NewGuid():n}";
        await using var silos = await SiloCluster.StartAsync(2, redis, new SiloSettings(Arguments: ["--arena-file", arena + "-{silo}"]));
        if (how == "frozen")
            redis.Freeze();
        else
            redis.Kill();

        var began = Stopwatch.GetTimestamp();
        var code = await silos[0].StopAsync();
        var took = Stopwatch.GetElapsedTime(began);

        if (how == "frozen")
            redis.Thaw();
        Assert.Equal(0, code); // although it took longer than the two seconds after which command line libraries lose patience
        Assert.False(File.Exists(silos[0].UnixPath));
        Promised.Within(TimeSpan.FromSeconds(7), took, "the end"); // 26 s, once
        await silos[1].KillAsync();
        foreach (var file in Directory.GetFiles("/dev/shm", Path.GetFileName(arena) + "-1*"))
            File.Delete(file);
        Assert.Empty(Directory.GetFiles("/dev/shm", Path.GetFileName(arena) + "*"));
        Assert.DoesNotContain("Unhandled", silos[0].Log, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("redis")]
    [InlineData("none")]
    public async Task A_wrong_password_of_redis_ends_the_start_with_a_sentence(string cluster)
    {
        using var redis = RedisProcess.Start("--requirepass", "right");

        foreach (var password in (string[])[",password=wrong", ""])
        {
            var said = await RefusedAsync("--cluster", cluster, "--redis", redis.Tcp + password);

            Assert.Contains($"Redis at {redis.Tcp} does not take this silo", said, StringComparison.Ordinal);
            Assert.DoesNotContain("wrong,", said, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Without_the_redis_of_the_list_of_members_the_start_ends_with_a_sentence()
    {
        var said = await RefusedAsync("--cluster", "redis", "--redis", $"127.0.0.1:{LoopbackPort.FindFree()}");

        Assert.Contains("The list of members is in Redis at 127.0.0.1", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redis_cluster_is_refused_with_a_sentence()
    {
        using var redis = RedisProcess.Start("--cluster-enabled", "yes");

        Assert.Contains("Redis Cluster, which is not supported", await RefusedAsync("--redis", redis.Tcp), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_silo_that_was_declared_dead_ends_with_a_sentence_or_comes_back_by_itself(bool rejoin)
    {
        using var redis = RedisProcess.Start();
        await using var silos = await SiloCluster.StartAsync(3, redis, new SiloSettings(Arguments: rejoin ? ["--rejoin"] : []));
        silos[2].Pause();
        await Eventually.TrueAsync("the others have declared it dead", async () =>
            await silos.PeersAsync(0) == 1 && silos[0].Log.Contains("has left (Dead)", StringComparison.Ordinal));
        silos[2].Resume();

        if (rejoin)
        {
            await Eventually.TrueAsync(
                "the others have it again", async () => await silos.PeersAsync(0) == 2 && await silos.PeersAsync(1) == 2);
            Assert.False(silos[2].HasExited);
            Assert.Contains("It starts anew, empty, as another member", silos[2].Log, StringComparison.Ordinal);
            return;
        }

        await Eventually.TrueAsync("it has ended", () => silos[2].HasExited);
        Assert.Equal(3, await silos[2].StopAsync());
        Assert.Contains("must not go on", silos[2].Log, StringComparison.Ordinal);
        Assert.DoesNotContain("FATAL EXCEPTION", silos[2].Log, StringComparison.Ordinal);
    }

    private static async Task<string> RefusedAsync(params string[] arguments)
    {
        var began = Stopwatch.GetTimestamp();
        var result = await Report.RunAsync(
            ProgramCommand.Silo(
                ["--arena", "2MiB", "--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0", .. arguments], Secret),
            Eventually.Bound);
        Report.Line($"It took {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s.");
        Assert.Equal(2, result.ExitCode);
        var line = Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", result.Output, StringComparison.Ordinal);
        return line;
    }
}
