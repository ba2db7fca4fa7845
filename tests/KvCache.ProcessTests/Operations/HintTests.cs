using System.Text.Json.Nodes;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A hint reaches what evicts through every door: what is retained outlives what would have taken its place.</summary>
public sealed class HintTests
{
    private const int Kept = 4, Others = 300; // of the 64 blocks that there is room for
    private static readonly CacheNamespace Ns = Prefixes.Namespace("hints", KvLayout.Create(1, 1, 128, KvDataType.Float16, 128));
    private static readonly CacheHint Retained = new() { End = AnswerEnd.ToolCall, Retention = TimeSpan.FromMinutes(5) };

    [Theory]
    [InlineData("local", "after")]
    [InlineData("local", "store")]
    [InlineData("local", "load")]
    [InlineData("client", "after")]
    [InlineData("client", "store")]
    [InlineData("client", "load")]
    [InlineData("client", "match")]
    [InlineData("tiered", "after")]
    [InlineData("tiered", "match")]
    public async Task What_is_retained_stays_in_every_cache(string kind, string told)
    {
        await using var silo = await SmallSiloAsync();
        await using var cache = Create(kind, silo);
        var prefixes = Enumerable.Range(0, Kept).Select(_ => Prefixes.New(Ns, 1)).ToList();
        foreach (var prefix in prefixes)
        {
            var hinted = prefix with { Hint = Retained };
            Assert.Equal(1, (await cache.StoreAsync(told == "store" ? hinted : prefix, 0, prefix.Blocks())).Stored);
            if (told == "after")
                await cache.HintAsync(prefix, Retained);
            else if (told == "match")
                Assert.Equal(1, (await cache.MatchAsync(hinted)).Blocks);
            else if (told == "load")
                Assert.Equal(1, (await cache.LoadAsync(hinted, 0, prefix.Memory(1))).Blocks);
        }

        await FillAsync(cache);
        Assert.Equal(Kept, await CountAsync(cache, prefixes));
    }

    [Fact]
    public async Task Without_a_hint_nothing_of_it_stays()
    {
        await using var silo = await SmallSiloAsync();
        await using var cache = silo.Connect();
        var prefixes = Enumerable.Range(0, Kept).Select(_ => Prefixes.New(Ns, 1)).ToList();
        foreach (var prefix in prefixes)
            await cache.StoreAsync(prefix, 0, prefix.Blocks());
        await FillAsync(cache);
        Assert.Equal(0, await CountAsync(cache, prefixes));
    }

    [Fact]
    public async Task Hints_come_over_http_after_an_answer_with_a_put_with_a_get_and_with_a_match()
    {
        await using var silo = await SmallSiloAsync();
        using var http = new HttpSilo(silo);
        var ns = await http.RegisterAsync(Ns);
        await using var cache = silo.Connect();
        var prefixes = Enumerable.Range(0, 4).Select(_ => Prefixes.New(Ns, 1)).ToList();
        for (var i = 0; i < 4; i++)
        {
            var query = i == 1 ? "?retention=300&end=tool_call&priority=60&kind=document" : "";
            using var put = await http.PutAsync(HttpSilo.Path(ns, prefixes[i].Chain.Hashes[0], query), Content.Of(prefixes[i], 0));
            Assert.Equal(201, (int)put.StatusCode);
        }

        JsonObject hint() => new() { ["retention"] = 300, ["end"] = "end_of_turn" };
        JsonArray hashes(int i) => [prefixes[i].Chain.Hashes[0].ToString()];
        using var told = await http.PostAsync(
            "/v1/hint", new JsonObject { ["namespace"] = ns, ["hashes"] = hashes(0), ["hint"] = hint() });
        Assert.Equal(1, (await HttpSilo.JsonAsync(told))["blocks"]!.GetValue<int>());
        using var got = await http.Client.GetAsync(HttpSilo.Path(ns, prefixes[2].Chain.Hashes[0], "?retention=300"));
        Assert.Equal(200, (int)got.StatusCode);
        using var matched = await http.PostAsync(
            "/v1/match", new JsonObject { ["namespaces"] = new JsonArray(ns), ["hashes"] = hashes(3), ["hint"] = hint() });
        Assert.Equal(1, (await HttpSilo.JsonAsync(matched))["blocks"]!.GetValue<int>());

        await FillAsync(cache);
        Assert.Equal(4, await CountAsync(cache, prefixes));

        foreach (var (name, value) in new[] { ("end", "\"soon\""), ("priority", "101"), ("retention", "0"), ("kind", "\"poem\"") })
        {
            using var wrong = await http.PostAsync("/v1/hint", new JsonObject
            {
                ["namespace"] = ns,
                ["hashes"] = hashes(0),
                ["hint"] = new JsonObject { [name] = JsonNode.Parse(value) },
            });
            Assert.Equal(400, (int)wrong.StatusCode);
            Assert.Contains(name, await wrong.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task A_hint_through_another_silo_gets_to_who_has_the_blocks()
    {
        await using var silos = await SiloCluster.StartAsync(2, settings: new SiloSettings(Arena: "4MiB"));
        await using var first = silos.Connect(0);
        await using var second = silos.Connect(1);
        var prefixes = Enumerable.Range(0, Kept).Select(_ => Prefixes.New(Ns, 1)).ToList();
        foreach (var prefix in prefixes)
        {
            await first.StoreAsync(prefix, 0, prefix.Blocks());
            await Eventually.TrueAsync("the other silo finds it", async () => (await second.MatchAsync(prefix)).Blocks == 1);
            await second.HintAsync(prefix, Retained);
        }

        // It is passed on behind the answer.
        await Eventually.TrueAsync("the hints have arrived", async () => await first.StoreCounterAsync("hints") == Kept);
        await FillAsync(first);
        Assert.Equal(Kept, prefixes.Sum(prefix => silos.BlocksAt(0, prefix)));
    }

    [Fact]
    public async Task A_cache_that_is_away_takes_a_hint_for_nothing()
    {
        await using var silo = await SmallSiloAsync();
        await using var cache = silo.Connect();
        await silo.KillAsync();
        await cache.HintAsync(Prefixes.New(Ns, 2), Retained);
    }

    private static Task<SiloProcess> SmallSiloAsync() => SiloProcess.StartAsync(new SiloSettings(Arena: "4MiB"));

    private static IKvCache Create(string kind, SiloProcess silo) => kind switch
    {
        "local" => new LocalKvCache(ByteSize.MiB(4)),
        "client" => silo.Connect(),
        _ => new TieredKvCache(new LocalKvCache(ByteSize.MiB(4)), silo.Connect()),
    };

    private static async Task FillAsync(IKvCache cache)
    {
        for (var i = 0; i < Others; i++)
        {
            var prefix = Prefixes.New(Ns, 1);
            Assert.Equal(1, (await cache.StoreAsync(prefix, 0, prefix.Blocks())).Stored);
        }
    }

    private static async Task<int> CountAsync(IKvCache cache, IEnumerable<KvPrefix> prefixes)
    {
        var count = 0;
        foreach (var prefix in prefixes)
            count += (await cache.MatchAsync(prefix)).Blocks;
        return count;
    }
}
