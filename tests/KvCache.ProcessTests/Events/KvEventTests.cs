using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Events;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>Events between a silo and programs with the real ZeroMQ.</summary>
public sealed partial class KvEventTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("events", KvLayout.Create(2, 1, 16, KvDataType.Float16, 32));

    [Theory]
    [InlineData("Maps", false)]
    [InlineData("Arrays", true)]
    public async Task A_subscriber_hears_of_blocks_that_come_and_go(string format, bool integers)
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
        {
            ["KvCache:Events:Publish"] = "127.0.0.1:0",
            ["KvCache:Events:Format"] = format,
            ["KvCache:Events:IntegerHashes"] = integers.ToString(),
        }));
        using var subscriber =
            ZeroMqScript.Start("event_subscriber.py", $"tcp://{PublishAddress().Match(silo.Log).Groups[1].Value}", $"kv@{Ns.Id}");
        await using var client = silo.Connect();

        // A publisher does not wait for who has not subscribed yet.
        await Eventually.TrueAsync("the subscriber hears something", async () =>
        {
            var early = Prefixes.New(Ns, 1);
            await client.StoreAsync(early, 0, early.Blocks());
            return subscriber.Lines.Length > 0;
        });

        var other = Prefixes.New(Ns with { Salt = "not subscribed to" }, 1);
        await client.StoreAsync(other, 0, other.Blocks());
        var prefix = Prefixes.New(Ns, 2);
        await client.StoreAsync(prefix, 0, prefix.Blocks());
        await client.DeleteAsync(prefix);
        var (first, second) = (Name(prefix.Chain.Hashes[0], integers), Name(prefix.Chain.Hashes[1], integers));
        await Eventually.TrueAsync("both blocks are gone", () => Events(subscriber).Count(e => Type(e) == "BlockRemoved") == 2);

        var events = Events(subscriber);
        var stored = events.FindAll(e => Type(e) == "BlockStored")[^2..];
        Assert.Equal([first, second], stored.Select(e => Member(e, "block_hashes", 1)!.AsArray().Single()!.ToJsonString()));
        Assert.Equal([null, first], stored.Select(e => Member(e, "parent_block_hash", 2)?.ToJsonString()));
        Assert.All(stored,
            e => Assert.Equal((32, "CPU"), (Member(e, "block_size", 4)!.GetValue<int>(), Member(e, "medium", 6)!.GetValue<string>())));
        Assert.Equal(
            new HashSet<string> { first, second },
            events.FindAll(e => Type(e) == "BlockRemoved").Select(e => Member(e, "block_hashes", 1)!.AsArray().Single()!.ToJsonString())
                .ToHashSet());
        var numbers = subscriber.Lines.Select(line => JsonNode.Parse(line)![1]!.GetValue<long>()).ToArray();
        Assert.Equal(Enumerable.Range(0, numbers.Length).Select(i => numbers[0] + i), numbers);
        Assert.All(subscriber.Lines, line => Assert.Equal($"kv@{Ns.Id}", JsonNode.Parse(line)![0]!.GetValue<string>()));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task A_subscriber_proves_its_tenant_and_hears_of_its_blocks_only()
    {
        const string AcmeSecret = "a secret of the tenant acme", GlobexSecret = "a secret of the tenant globex";
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
        {
            ["KvCache:Tenants:acme:Secret"] = AcmeSecret,
            ["KvCache:Tenants:globex:Secret"] = GlobexSecret,
            ["KvCache:Events:Publish"] = "127.0.0.1:0",
        }));
        var address = $"tcp://{PublishAddress().Match(silo.Log).Groups[1].Value}";
        using var acme = ZeroMqScript.Start("event_subscriber.py", address, "", "acme", AcmeSecret);
        using var globex = ZeroMqScript.Start("event_subscriber.py", address, "kv@", "globex", GlobexSecret);
        using var thief = ZeroMqScript.Start("event_subscriber.py", address, "", "acme", GlobexSecret);
        using var stranger = ZeroMqScript.Start("event_subscriber.py", address, "");
        await using var client = silo.Connect(configure: options => (options.Tenant, options.Secret) = ("acme", AcmeSecret));
        await using var other = silo.Connect(configure: options => (options.Tenant, options.Secret) = ("globex", GlobexSecret));
        var (acmes, globexs) = (Ns with { Tenant = "acme" }, Ns with { Tenant = "globex" });

        await Eventually.TrueAsync("both hear of their blocks", async () =>
        {
            var (mine, theirs) = (Prefixes.New(acmes, 1), Prefixes.New(globexs, 1));
            await client.StoreAsync(mine, 0, mine.Blocks());
            await other.StoreAsync(theirs, 0, theirs.Blocks());
            return acme.Lines.Length > 2 && globex.Lines.Length > 2;
        });
        await Eventually.TrueAsync(
            "the thief has tried", () => silo.Log.Contains("Refused proof at the event socket", StringComparison.Ordinal));

        Assert.All(acme.Lines, line => Assert.Equal($"kv@{acmes.Id}", JsonNode.Parse(line)![0]!.GetValue<string>()));
        Assert.All(globex.Lines, line => Assert.Equal($"kv@{globexs.Id}", JsonNode.Parse(line)![0]!.GetValue<string>()));
        Assert.Empty(thief.Lines);
        Assert.Empty(stranger.Lines);
        silo.AssertHealthy();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_prompt_in_an_engines_gpu_is_located_for_its_tenant_only(bool maps)
    {
        using var engine = ZeroMqScript.Start("engine_publisher.py");
        var port = int.Parse(await engine.FirstLineAsync(), CultureInfo.InvariantCulture);
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Settings: new Dictionary<string, string>
        {
            ["KvCache:Tenants:acme:Secret"] = "a secret of the tenant acme",
            ["KvCache:Tenants:globex:Secret"] = "a secret of the tenant globex",
            ["KvCache:Events:Engines:gpu0:Endpoint"] = $"127.0.0.1:{port}",
            ["KvCache:Events:Engines:gpu0:Tenant"] = "acme",
            ["KvCache:Events:Engines:gpu0:Model"] = Ns.Model,
        }));
        using var acme = new HttpSilo(silo, "a secret of the tenant acme");
        using var globex = new HttpSilo(silo, "a secret of the tenant globex");
        var tokens = string.Join(',', Enumerable.Range(0, 40));
        var (one, two) = maps ? ("\"hex:00aa000000000000000001\"", "\"hex:00bb000000000000000002\"") : ("1", "2");

        await SayUntilAsync(Stored(one, "null", Enumerable.Range(0, 16)), 16);
        await SayUntilAsync(Stored(two, one, Enumerable.Range(16, 16)), 32);

        var node = await NodeAsync(acme);
        Assert.Equal("gpu0", node["node"]!.GetValue<string>());
        Assert.Equal(32.0 / 40, node["score"]!.GetValue<double>(), 9);
        Assert.Equal(silo.Tcp, node["endpoints"]![0]!.GetValue<string>()); // the silo on the same host
        Assert.Equal(
            (silo.Tcp, 0), ((await NodeAsync(globex))["node"]!.GetValue<string>(), (await NodeAsync(globex))["gpu"]!.GetValue<int>()));

        await SayUntilAsync(
            maps ? $$"""{"ts":1.5,"events":[{"type":"BlockRemoved","block_hashes":[{{two}}],"medium":"GPU"}]}"""
            : $"""[1.5,[["BlockRemoved",[{two}]]],0]""", 16);
        await SayUntilAsync(
            maps ? """{"ts":1.5,"events":[{"type":"AllBlocksCleared"}],"data_parallel_rank":0}"""
            : """[1.5,[["AllBlocksCleared"]],0]""", 0);
        silo.AssertHealthy();

        string Stored(string hash, string parent, IEnumerable<int> blockTokens) => maps
            ? $$"""{"ts":1.5,"events":[{"block_hashes":[{{hash}}],"type":"BlockStored","parent_block_hash":{{parent}},"token_ids":[{{string.Join(',', blockTokens)}}],"block_size":16,"lora_id":null,"medium":"GPU","lora_name":null,"unheard_of":{"a":[1,2.5] } }],"data_parallel_rank":0}"""
            : $"""[1.5,[["BlockStored",[{hash}],{parent},[{string.Join(',', blockTokens)}],16,null,"GPU"],["UnheardOf",1]],0]""";

        // A publisher does not wait for who has not subscribed yet, and saying it again changes nothing.
        Task SayUntilAsync(string batch, int tokensInGpu) => Eventually.TrueAsync($"{tokensInGpu} tokens lie in the GPU", async () =>
        {
            engine.Say(batch);
            return (await NodeAsync(acme))["gpu"]!.GetValue<int>() == tokensInGpu;
        });

        async Task<JsonNode> NodeAsync(HttpSilo http)
        {
            var tenant = http == acme ? "acme" : "globex";
            using var registered =
                await http.PostAsync(
                "/v1/namespaces",
                new JsonObject { ["encoding"] = System.Buffers.Text.Base64Url.EncodeToString((Ns with { Tenant = tenant }).Encoded) });
            using var response =
                await http.PostAsync(
                "/v1/locate", JsonNode.Parse($$"""{"namespace":"{{(Ns with { Tenant = tenant }).Id}}","tokens":[{{tokens}}]}""")!);
            return Assert.Single((await HttpSilo.JsonAsync(response))["nodes"]!.AsArray())!;
        }
    }

    private static List<JsonNode> Events(ZeroMqScript subscriber) =>
        [.. subscriber.Lines.Select(line => JsonNode.Parse(line)![2]!)
            .SelectMany(batch => (batch is JsonArray ? batch[1]! : batch["events"]!).AsArray()).Select(e => e!)];

    private static string Type(JsonNode e) => (e is JsonArray ? e[0]! : e["type"]!).GetValue<string>();

    private static JsonNode? Member(JsonNode e, string name, int position) => e is JsonArray ? e[position] : e[name];

    private static string Name(BlockHash hash, bool integers)
    {
        var bytes = BlockHash.BytesOf(in hash);
        return integers
            ? System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(bytes[24..]).ToString(CultureInfo.InvariantCulture)
            : $"\"hex:{hash}\"";
    }

    [GeneratedRegex(@"KV events are published on (\S+)")]
    private static partial Regex PublishAddress();
}
