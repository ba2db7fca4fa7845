using KvCache.Engine.Storage;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.LmCache;
using KvCache.ProcessTests.Resp;
using KvCache.Testing;

namespace KvCache.ProcessTests;

public sealed class LmCacheTests(RespSilo silo) : IClassFixture<RespSilo>
{
    private readonly string _key = $"meta-llama/Llama-3.1-8B@1@0@{Guid.NewGuid():N}@bfloat16";

    [Fact]
    public void A_value_comes_back_with_the_integers_that_came_with_it()
    {
        using var peer = new LmCachePeer(silo.Process);
        foreach (var shape in new[] { LmShape.Chunk, new(7, 8, 2, 256, 576, 0, 0), new(4, 0, 0, -1, int.MaxValue, int.MinValue, 1) })
        {
            var value = Value(300_000, shape.Format);
            peer.Put(_key, value, shape);
            var got = peer.Get(_key);
            Assert.Equal(value, got?.Value);
            Assert.Equal(shape, got?.Shape);
        }
    }

    [Fact]
    public void Keys_of_several_versions_are_keys_of_their_own()
    {
        using var peer = new LmCachePeer(silo.Process);
        string[] keys =
            [_key, "vllm@" + _key, _key + "@0", _key + "@1", _key + "@tag%value", _key.Replace("@1@0@", "@2@1@-", StringComparison.Ordinal),
            _key.PadRight(150, 'x')];
        for (var i = 0; i < keys.Length; i++)
            peer.Put(keys[i], Value(1000, i), LmShape.Chunk with { D0 = i });
        for (var i = 0; i < keys.Length; i++)
        {
            var got = peer.Get(keys[i]);
            Assert.Equal(Value(1000, i), got?.Value);
            Assert.Equal(i, got?.Shape.D0);
        }
    }

    [Fact]
    public void What_is_not_there_is_a_failure_that_every_parser_reads()
    {
        using var peer = new LmCachePeer(silo.Process);
        Assert.False(peer.Exists(_key));
        Assert.Null(peer.Get(_key));
        peer.SendHeader(3, _key);
        Assert.Equal((400, 0, new LmShape(1, 2, 0, 0, 0, 0, 0)), peer.Reply());
        Assert.Equal(400, peer.Call(4)); // LIST
        Assert.Equal(200, peer.Call(5)); // HEALTH
        peer.Put(_key, [], LmShape.Chunk);
        Assert.True(peer.Exists(_key));
        Assert.Equal(0, peer.Get(_key)?.Value.Length);
        Assert.False(peer.Exists(""));
    }

    [Fact]
    public async Task Four_connections_put_ask_and_get_at_the_same_time()
    {
        await Task.WhenAll(Enumerable.Range(0, 4).Select(lane => Task.Run(() =>
        {
            using var peer = new LmCachePeer(silo.Process);
            for (var i = 0; i < 50; i++)
            {
                var key = $"{_key}@{lane}@{i}";
                Assert.False(peer.Exists(key));
                peer.Put(key, Value(20_000 + i, lane), LmShape.Chunk with { D3 = i });
                Assert.True(peer.Exists(key)); // nothing was answered to the PUT, and this is the next answer
                var got = peer.Get(key);
                Assert.Equal(Value(20_000 + i, lane), got?.Value);
                Assert.Equal(i, got?.Shape.D3);
            }
        })));
        silo.Process.AssertHealthy();
    }

    [Fact]
    public async Task Half_a_put_is_never_visible()
    {
        using var reader = new LmCachePeer(silo.Process);
        using (var writer = new LmCachePeer(silo.Process))
        {
            writer.SendHeader(1, _key, 1_000_000, LmShape.Chunk);
            writer.SendRaw(new byte[500_000]);
            Assert.False(reader.Exists(_key));
        }

        using (var writer = new LmCachePeer(silo.Process))
            writer.SendRaw(new byte[100]); // not even a header
        using var other = new RespPeer(silo.Process);
        await Eventually.TrueAsync(
            "both connections have ended", () =>
            other.Call("INFO", "clients").Contains("connected_clients:1\r\n", StringComparison.Ordinal));
        Assert.False(reader.Exists(_key));
        Assert.Null(reader.Get(_key));
        silo.Process.AssertHealthy();
    }

    [Theory]
    [InlineData(1, -1)]
    [InlineData(1, int.MaxValue)]
    [InlineData(99, 0)]
    [InlineData(-1, 0)]
    public void A_request_that_makes_no_sense_costs_its_own_connection(int command, int length)
    {
        using var good = new LmCachePeer(silo.Process);
        using (var bad = new LmCachePeer(silo.Process))
        {
            bad.SendHeader(command, _key, length);
            Assert.True(bad.IsClosed());
        }

        Assert.Equal(200, good.Call(5));
    }

    [Fact]
    public async Task A_client_connects_again_after_the_silo_was_restarted()
    {
        var folder = Directory.CreateTempSubdirectory("kvcache-lm-").FullName;
        try
        {
            string address;
            await using (var first = await SiloProcess.StartAsync(RespSilo.Settings() with { Folder = folder }))
            {
                address = first.Ready.LmCache;
                using var peer = new LmCachePeer(address);
                peer.Put(_key, Value(1000, 1), LmShape.Chunk);
                Assert.True(peer.Exists(_key));
                await first.KillAsync();
                Assert.True(peer.IsClosed());
            }

            await using var second = await SiloProcess.StartAsync(RespSilo.Settings(("LmCache:Listen", address)) with { Folder = folder });
            using var again = new LmCachePeer(address);
            Assert.False(again.Exists(_key)); // memory went with the silo: a miss, no error
            again.Put(_key, Value(1000, 2), LmShape.Chunk);
            Assert.Equal(Value(1000, 2), again.Get(_key)?.Value);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task A_full_arena_evicts_and_what_does_not_fit_is_dropped_without_a_word()
    {
        await using var small = await SiloProcess.StartAsync(RespSilo.Settings() with { Arena = "8MiB" });
        using var peer = new LmCachePeer(small);
        for (var i = 0; i < 50; i++)
            peer.Put($"{_key}@{i}", Value(1 << 20, i), LmShape.Chunk);
        Assert.Equal(Value(1 << 20, 49), peer.Get($"{_key}@49")?.Value);
        Assert.False(peer.Exists($"{_key}@0"));
        peer.Put(_key, new byte[9 << 20], LmShape.Chunk);
        Assert.False(peer.Exists(_key));
        Assert.Equal(200, peer.Call(5));
        small.AssertHealthy();
    }

    private static byte[] Value(int size, int seed)
    {
        var value = new byte[size];
        new Random(seed).NextBytes(value);
        return value;
    }
}
