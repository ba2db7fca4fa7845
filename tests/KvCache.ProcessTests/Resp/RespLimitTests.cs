using KvCache.Engine.Storage;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.LmCache;
using KvCache.ProcessTests.Resp;
using KvCache.QuickStart;
using KvCache.Testing;


namespace KvCache.ProcessTests;

/// <summary>What the Redis endpoint bears, and from whom.</summary>
public sealed class RespLimitTests
{
    private const string Secret = "a secret of sixteen bytes", OtherSecret = "another secret, as long";

    [Fact]
    public async Task A_set_that_is_cut_off_is_never_visible_and_leaves_no_memory_behind()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings());
        using var reader = new RespPeer(silo);
        Assert.Equal("+OK", reader.Call("SET", "k", "before"));
        for (var i = 0; i < 20; i++)
        {
            using var writer = new RespPeer(silo);
            writer.SendRaw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000000\r\n");
            writer.SendRaw(new byte[1_000_000]);
        }

        using (var writer = new RespPeer(silo))
            writer.SendRaw("*5\r\n$4\r\nMSET\r\n$1\r\nk\r\n$1\r\nx\r\n$2\r\nk2\r\n$100\r\nxx");
        Assert.Equal("\"before\"", reader.Call("GET", "k"));
        await Eventually.TrueAsync(
            "the memory of all of them is back", () =>
            reader.Call("INFO", "memory").Contains("used_memory:4096\r\n", StringComparison.Ordinal));
        Assert.Equal("nil", reader.Call("GET", "k2"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Memory_stays_in_its_budget_and_a_value_without_room_is_refused_in_the_words_of_Redis()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings() with { Arena = "16MiB" });
        using var peer = new RespPeer(silo);
        Assert.StartsWith("-OOM command not allowed", peer.Call("SET", "large", new byte[17 << 20]), StringComparison.Ordinal);
        Assert.Equal("+PONG", peer.Call("PING"));
        for (var i = 0; i < 100; i++)
            Assert.Equal("+OK", peer.Call("SET", $"k{i}", new byte[1 << 20]));
        Assert.Equal("nil", peer.Call("GET", "k0"));
        peer.Send("GET", "k99");
        Assert.Equal(1 << 20, peer.Value()!.Length);
        peer.SendRaw("*11\r\n$4\r\nMSET\r\n");
        for (var i = 0; i < 5; i++)
        {
            peer.SendRaw($"$2\r\nm{i}\r\n$1048576\r\n");
            peer.SendRaw(new byte[1 << 20]);
            peer.SendRaw("\r\n");
        }

        Assert.StartsWith("-OOM command not allowed", peer.Reply(), StringComparison.Ordinal); // more than a quarter of the arena at once
        Assert.Equal("nil", peer.Call("GET", "m0"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Tenants_authenticate_and_do_not_see_each_other()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings(
            ("Tenants:acme:Secret", Secret), ("Tenants:globex:Secret", OtherSecret), ("LmCache:Tenant", "acme"),
                ("Resp:AllowFlush", "true")));
        using var acme = new RespPeer(silo);
        using var globex = new RespPeer(silo);
        using var nobody = new RespPeer(silo);
        Assert.Equal("-NOAUTH Authentication required.", nobody.Call("GET", "k"));
        Assert.Equal("-NOAUTH Authentication required.", nobody.Call("SET", "k", "v"));
        Assert.StartsWith("-NOAUTH HELLO must be called", nobody.Call("HELLO", "3"), StringComparison.Ordinal);
        foreach (var (user, password) in new[] { ("acme", OtherSecret), ("nobody", Secret), ("", ""), ("acme", "") })
            Assert.Equal("-WRONGPASS invalid username-password pair or user is disabled.", nobody.Call("AUTH", user, password));
        Assert.Equal("-NOAUTH Authentication required.", nobody.Call("GET", "k"));
        Assert.Equal("+OK", acme.Call("AUTH", "acme", Secret));
        Assert.StartsWith("{", globex.Call("HELLO", "3", "AUTH", "globex", OtherSecret), StringComparison.Ordinal);
        Assert.Equal("+OK", acme.Call("SET", "k", "of acme"));
        Assert.Equal("nil", globex.Call("GET", "k"));
        Assert.Equal(":0", globex.Call("EXISTS", "k"));
        Assert.Equal(":0", globex.Call("DEL", "k"));
        Assert.Equal("[\"0\", []]", globex.Call("SCAN", "0", "COUNT", "1000"));
        Assert.Equal("+OK", globex.Call("SET", "k", "of globex"));
        Assert.Equal("+OK", globex.Call("FLUSHDB"));
        Assert.Equal(":0", globex.Call("DBSIZE"));
        Assert.Equal("\"of acme\"", acme.Call("GET", "k"));
        using var engine = new LmCachePeer(silo); // of acme too, in a namespace of its own
        Assert.Null(engine.Get("k"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Hostile_requests_cost_only_their_own_connection()
    {
        await using var silo =
            await SiloProcess.StartAsync(
            RespSilo.Settings(("Resp:MaxValueSize", "1MiB"), ("Tenants:acme:Secret", Secret), ("LmCache:Tenant", "acme")));
        using var good = new RespPeer(silo);
        Assert.Equal("+OK", good.Call("AUTH", Secret)); // the only tenant there is
        foreach (var (text, reply) in new[]
        {
            ("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length"),
            ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n", "-ERR Protocol error: unauthenticated bulk length"),
            ("*1\r\n+x\r\n", "-ERR Protocol error: expected '$', got '+'"),
            ("*2147483648\r\n", "-ERR Protocol error: invalid multibulk length"),
        })
        {
            using var peer = new RespPeer(silo);
            peer.SendRaw(text);
            Assert.Equal(reply, peer.Reply());
            Assert.Equal("closed", peer.Reply());
        }

        using var bad = new RespPeer(silo);
        bad.Call("AUTH", Secret);
        bad.SendRaw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n");
        Assert.Equal("-ERR Protocol error: invalid bulk length", bad.Reply());
        Assert.Equal("closed", bad.Reply());
        Assert.Equal("+PONG", good.Call("PING"));
        Assert.StartsWith("-ERR the request is too long", good.Call("GET", new string('k', 1 << 20)), StringComparison.Ordinal);
        Assert.Equal("+PONG", good.Call("PING"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Connections_are_bounded_and_slow_ones_end()
    {
        await using var silo =
            await SiloProcess.StartAsync(
            RespSilo.Settings(("Resp:MaxConnections", "4"), ("Resp:FrameTimeout", "00:00:01"), ("Resp:MinBytesPerSecond", "1000000000")));
        var peers = Enumerable.Range(0, 4).Select(_ => new RespPeer(silo)).ToList();
        Assert.All(peers, peer => Assert.Equal("+PONG", peer.Call("PING")));
        using (var fifth = new RespPeer(silo))
            Assert.Equal("-ERR max number of clients reached", fifth.Call("PING"));
        peers[0].SendRaw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nx"); // and nothing more
        Assert.Equal("closed", peers[0].Reply());
        Assert.Equal("+PONG", peers[1].Call("PING"));
        peers.ForEach(peer => peer.Dispose());
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Many_clients_replace_one_key_and_every_reader_sees_one_whole_value()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings());
        var stop = false;
        var reading = Task.Run(() =>
        {
            using var peer = new RespPeer(silo);
            var seen = 0;
            while (!Volatile.Read(ref stop))
            {
                peer.Send("GET", "k");
                if (peer.Value() is not { } value)
                    continue;
                Assert.Equal(50_000, value.Length);
                Assert.True(value.AsSpan().IndexOfAnyExcept(value[0]) < 0, "A value has parts of two.");
                seen++;
            }

            return seen;
        });
        await Task.WhenAll(Enumerable.Range(0, 16).Select(client => Task.Run(() =>
        {
            using var peer = new RespPeer(silo);
            var value = new byte[50_000];
            value.AsSpan().Fill((byte)('a' + client));
            for (var i = 0; i < 50; i++)
                Assert.Equal("+OK", peer.Call("SET", "k", value));
            if (client % 4 == 0)
                peer.Call("DEL", "k");
        })));
        Volatile.Write(ref stop, true);
        Assert.True(await reading > 0);
        using var last = new RespPeer(silo);
        Assert.Equal("+OK", last.Call("SET", "k", "the last one"));
        Assert.Equal("\"the last one\"", last.Call("GET", "k"));
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Only_one_of_many_sets_what_is_not_there()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings());
        for (var round = 0; round < 20; round++)
        {
            var key = $"lock{round}";
            var replies = await Task.WhenAll(Enumerable.Range(0, 8).Select(client => Task.Run(() =>
            {
                using var peer = new RespPeer(silo);
                return (client, reply: peer.Call("SET", key, $"{client}", "NX"));
            })));
            var winner = Assert.Single(replies, answer => answer.reply == "+OK").client;
            Assert.All(replies, answer => Assert.Contains(answer.reply, new[] { "+OK", "nil" }));
            using var reader = new RespPeer(silo);
            Assert.Equal($"\"{winner}\"", reader.Call("GET", key));
        }
    }

    [Fact]
    public async Task A_large_value_does_not_hold_up_small_commands_of_others()
    {
        await using var silo = await SiloProcess.StartAsync(RespSilo.Settings());
        using var slow = new RespPeer(silo);
        using var quick = new RespPeer(silo);
        slow.SendRaw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000000\r\n");
        slow.SendRaw(new byte[10_000_000]); // half of it, and then it waits
        for (var i = 0; i < 100; i++)
            Assert.Equal("+OK", quick.Call("SET", $"q{i}", "v"));
        slow.SendRaw(new byte[10_000_000]);
        slow.SendRaw("\r\n");
        Assert.Equal("+OK", slow.Reply());
    }

    [Fact]
    public async Task An_address_that_others_reach_needs_secrets_or_a_word_that_it_may()
    {
        foreach (var (setting, words) in new[] { ("Resp", "no tenant has a secret"), ("LmCache", "has no authentication") })
        {
            var result = await Report.RunAsync(
                ProgramCommand.Silo(
                    ["--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0"],
                    new Dictionary<string, string> { [$"KvCache:{setting}:Listen"] = "0.0.0.0:0" }),
                Eventually.Bound);
            Assert.Equal(2, result.ExitCode);
            Assert.Contains(words, result.Errors, StringComparison.Ordinal);
        }
    }
}
