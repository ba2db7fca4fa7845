using System.Diagnostics;
using KvCache.Processes;
using KvCache.ProcessTests.Resp;
using KvCache.QuickStart;
using KvCache.Testing;
using StackExchange.Redis;

namespace KvCache.ProcessTests;

/// <summary>Programs and libraries that were written for Redis.</summary>
public sealed class RespProgramTests(RespSilo silo) : IClassFixture<RespSilo>
{
    private string Port => silo.Process.Ready.Resp.Split(':')[1];

    [Theory]
    [InlineData("4096", "2000")]
    [InlineData("1048576", "50")]
    public async Task Redis_benchmark_runs_without_an_error(string bytes, string requests)
    {
        var result = await RunAsync(
            "redis-benchmark", "-p", Port, "-t", "ping,set,get,mset", "-d", bytes, "-n", requests, "-c", "16", "--csv");
        Assert.DoesNotContain("rror", result.Output + result.Errors, StringComparison.Ordinal);
        // its head, two ways to ping, set, get, mset
        Assert.Equal(6, result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        silo.Process.AssertHealthy();
    }

    [Fact]
    public async Task Redis_benchmark_runs_a_pipeline_of_many_keys()
    {
        var result = await RunAsync(
            "redis-benchmark", "-p", Port, "-t", "set,get", "-d", "100", "-n", "5000", "-c", "8", "-P", "16", "-r", "1000", "--csv");
        Assert.DoesNotContain("rror", result.Output + result.Errors, StringComparison.Ordinal);
        silo.Process.AssertHealthy();
    }

    [Theory]
    [InlineData("-2")]
    [InlineData("-3")]
    public async Task Redis_cli_sets_gets_and_scans(string version)
    {
        Assert.Equal("OK\n", (await RunAsync("redis-cli", version, "-p", Port, "SET", "cli:key", "a value", "EX", "100")).Output);
        Assert.Equal("a value\n", (await RunAsync("redis-cli", version, "-p", Port, "GET", "cli:key")).Output);
        Assert.Equal("cli:key\n", (await RunAsync("redis-cli", version, "-p", Port, "--scan", "--pattern", "cli:*")).Output);
        Assert.Contains("role:master", (await RunAsync("redis-cli", version, "-p", Port, "INFO")).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(RedisProtocol.Resp2)]
    [InlineData(RedisProtocol.Resp3)]
    public async Task StackExchange_Redis_works(RedisProtocol protocol)
    {
        var options = ConfigurationOptions.Parse(silo.Process.Ready.Resp);
        options.Protocol = protocol;
        await using var connection = await ConnectionMultiplexer.ConnectAsync(options);
        var database = connection.GetDatabase();
        var value = new byte[1_000_000];
        new Random(3).NextBytes(value);
        var prefix = $"se:{protocol}:";
        Assert.True(await database.StringSetAsync(prefix + "a", value, TimeSpan.FromMinutes(5)));
        Assert.Equal(value, (byte[]?)await database.StringGetAsync(prefix + "a"));
        Assert.InRange((await database.KeyTimeToLiveAsync(prefix + "a"))!.Value.TotalSeconds, 200, 300);
        Assert.Equal(value.Length, await database.StringLengthAsync(prefix + "a"));
        Assert.Equal(value[10..20], (byte[]?)await database.StringGetRangeAsync(prefix + "a", 10, 19));
        Assert.False(await database.StringSetAsync(prefix + "a", "b", when: When.NotExists));
        Assert.True(await database.StringSetAsync([new(prefix + "b", "1"), new(prefix + "c", "2")]));
        Assert.Equal(
            ["1", "2", null], (await database.StringGetAsync([prefix + "b", prefix + "c", prefix + "d"])).Select(item => (string?)item));
        Assert.True(await database.KeyExpireAsync(prefix + "b", TimeSpan.FromMinutes(1)));
        Assert.True(await database.KeyExistsAsync(prefix + "b"));
        Assert.Equal(2, await database.KeyDeleteAsync([prefix + "a", prefix + "b"]));
        Assert.True((await database.StringGetAsync(prefix + "a")).IsNull);
        var keys = new List<string>();
        await foreach (var key in connection.GetServers().Single().KeysAsync(pattern: prefix + "*"))
            keys.Add(key.ToString());
        Assert.Equal([prefix + "c"], keys);
        await Task.WhenAll(Enumerable.Range(0, 500).Select(i => database.StringSetAsync($"{prefix}{i}", new byte[i * 100])));
        var lengths = await Task.WhenAll(Enumerable.Range(0, 500).Select(i => database.StringLengthAsync($"{prefix}{i}")));
        Assert.Equal(Enumerable.Range(0, 500).Select(i => i * 100L), lengths);
        silo.Process.AssertHealthy();
    }

    [Fact]
    public void Both_layouts_of_LMCache_over_Redis_work()
    {
        using var peer = new RespPeer(silo.Process);
        const string Key = "meta-llama/Llama-3.1-8B@1@0@-3f2a9c@bfloat16";
        var body = new byte[2 << 20];
        new Random(4).NextBytes(body);

        // redis://: the body, then the metadata whose existence announces it.
        Assert.Equal(":0", peer.Call("EXISTS", Key + "metadata"));
        Assert.Equal("+OK", peer.Call("SET", Key + "kv_bytes", body));
        Assert.Equal("+OK", peer.Call("SET", Key + "metadata", new byte[28]));
        Assert.Equal(":1", peer.Call("EXISTS", Key + "metadata"));
        peer.Send("GET", Key + "metadata");
        Assert.Equal(28, peer.Value()!.Length);
        peer.Send("GET", Key + "kv_bytes");
        Assert.Equal(body, peer.Value());

        // resp://: one key, and a reply that begins with exactly "$" and the size.
        Assert.Equal("+OK", peer.Call("SET", Key, body));
        Assert.Equal(":1", peer.Call("EXISTS", Key));
        peer.Send("GET", Key);
        Assert.Equal(body, peer.Value());
        Assert.Equal("+OK", peer.Call("SET", Key, "v", "EX", "60")); // Valkey's form
    }

    private static async Task<ProgramResult> RunAsync(string program, params string[] arguments)
    {
        var path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
        Assert.SkipWhen(path is null, $"There is no {program} on PATH.");
        var result = await Report.RunAsync(new ProcessStartInfo(path, arguments), TimeSpan.FromMinutes(2));
        Assert.Equal(0, result.ExitCode);
        return result;
    }
}
