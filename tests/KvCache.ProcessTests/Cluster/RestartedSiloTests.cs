using System.Globalization;
using System.Net.Sockets;
using System.Text;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What a silo knows of persisted blocks is what it knew before it was restarted; what nobody reads again is not
/// written.</summary>
[Trait("run", "kills")]
public sealed class RestartedSiloTests
{
    private const int Blocks = 20;

    private static readonly CacheNamespace Ns = Prefixes.Namespace("restarted", KvLayout.Opaque([0, 256 << 10], 16));
    private static readonly StoreOptions Persisted = new(Durability: Durability.Persisted);

    [Fact]
    public async Task Pins_and_lives_are_what_they_were_after_a_restart()
    {
        using var redis = RedisProcess.Start();
        var settings = new SiloSettings(Arena: "4MiB", UseUnix: false, Arguments: ["--redis", redis.Tcp]);
        KvPrefix pinned = Prefixes.New(Ns, 1), mortal = Prefixes.New(Ns, 1);
        await using (var silo = await SiloProcess.StartAsync(settings))
        {
            await using var client = silo.Connect();
            Assert.Equal(1, (await client.StoreAsync(pinned, 0, pinned.Blocks(), Persisted)).Stored);
            Assert.Equal(
                1, (await client.StoreAsync(mortal, 0, mortal.Blocks(), Persisted with { TimeToLive = TimeSpan.FromSeconds(20) })).Stored);
            await InRedisAsync(redis, pinned);
            await InRedisAsync(redis, mortal);
            Assert.Equal(1, await client.PinAsync(pinned, TimeSpan.FromMinutes(10)));
            await silo.KillAsync();
        }

        await using (var silo = await SiloProcess.StartAsync(settings))
        {
            await using var client = silo.Connect();
            await Eventually.TrueAsync("both are found again", async () =>
                (await client.MatchAsync(pinned)).Blocks + (await client.MatchAsync(mortal)).Blocks == 2);
            await client.MustLoadAsync(pinned);
            await client.MustLoadAsync(mortal);
            await Eventually.TrueAsync("the block is pinned again", async () => await PinnedBytesAsync(silo) > 0);
            for (var i = 0; i < 40; i++)
                await client.MustStoreAsync(Prefixes.New(Ns, 1)); // more than there is room for
            redis.Freeze(); // from memory, then
            try
            {
                await client.MustLoadAsync(pinned);
            }
            finally
            {
                redis.Thaw();
            }

            await Eventually.TrueAsync("the other's life ends", async () => (await client.MatchAsync(mortal)).Blocks == 0);
        }
    }

    [Fact]
    public async Task A_persisted_block_costs_one_command_and_one_key()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Arguments: ["--redis", redis.Tcp]));
        await using var client = silo.Connect();
        var first = Prefixes.New(Ns, 1);
        await client.StoreAsync(first, 0, first.Blocks(), Persisted);
        await InRedisAsync(redis, first);
        Assert.Equal("+OK", redis.Command("CONFIG", "RESETSTAT"));
        var prefix = Prefixes.New(Ns, Blocks);
        Assert.Equal(Blocks, (await client.StoreAsync(prefix, 0, prefix.Blocks(), Persisted)).Stored);
        await InRedisAsync(redis, prefix);
        Assert.Equal($":{Blocks + 1}", redis.Command("DBSIZE"));
        var commands = Commands(redis);
        Report.Line($"Redis commands of {Blocks} persisted blocks: {string.Join(", ", commands.Select(c => $"{c.Key} {c.Value}"))}");
        Assert.Equal(Blocks, commands.Where(command => command.Key is "set" or "psetex").Sum(command => command.Value));
        Assert.Empty(commands.Keys.Intersect(["hset", "hmset", "hget", "hgetall", "hmget", "eval", "evalsha", "pexpire"]));
    }

    private static async Task InRedisAsync(RedisProcess redis, KvPrefix prefix) => await Eventually.TrueAsync(
        "the blocks are in Redis", () => Task.FromResult(Enumerable.Range(0, prefix.BlockCount)
            .All(i => redis.Command("EXISTS", $"kvcache:{prefix.Key(i).ToGrainKey()}") == ":1")));

    private static async Task<double> PinnedBytesAsync(SiloProcess silo)
    {
        using var http = new HttpClient();
        return Metrics.Value(await http.GetStringAsync($"{silo.Ready.Http}/metrics"), "kvcache_store_pinned", "");
    }

    private static Dictionary<string, int> Commands(RedisProcess redis)
    {
        using var client = new TcpClient("127.0.0.1", redis.Port);
        client.Client.Send(Encoding.ASCII.GetBytes("INFO commandstats\r\nQUIT\r\n"));
        using var reader = new StreamReader(client.GetStream());
        return reader.ReadToEnd().Split("\r\n").Where(line => line.StartsWith("cmdstat_", StringComparison.Ordinal))
            .Select(line => line["cmdstat_".Length..].Split(':', ',')).ToDictionary(
                parts => parts[0], parts => int.Parse(parts[1]["calls=".Length..], CultureInfo.InvariantCulture));
    }
}
