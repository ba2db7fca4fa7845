using System.Globalization;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.LmCache;
using KvCache.ProcessTests.Resp;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The endpoints of two silos are two doors to the same values.</summary>
public sealed class RespClusterTests : IAsyncLifetime
{
    private SiloProcess _first = null!, _second = null!;

    public async ValueTask InitializeAsync()
    {
        _first = await SiloProcess.StartAsync(RespSilo.Settings(("Cluster:Mode", "Localhost")));
        _second = await SiloProcess.StartAsync(RespSilo.Settings(
            ("Cluster:Mode", "Localhost"), ("Cluster:PrimaryPort", _first.Ready.SiloPort.ToString(CultureInfo.InvariantCulture))));
    }

    public async ValueTask DisposeAsync()
    {
        await _second.DisposeAsync();
        await _first.DisposeAsync();
    }

    [Fact]
    public async Task A_value_set_on_one_silo_is_read_replaced_and_deleted_on_the_other()
    {
        using var here = new RespPeer(_first);
        using var there = new RespPeer(_second);
        Assert.Equal("+OK", here.Call("SET", "k", "one", "EX", "1000"));
        await Eventually.TrueAsync("the other silo has heard of it", () => there.Call("EXISTS", "k") == ":1");
        Assert.Equal("\"one\"", there.Call("GET", "k"));
        Assert.InRange(int.Parse(there.Call("TTL", "k")[1..], CultureInfo.InvariantCulture), 900, 1000);
        Assert.Equal("nil", there.Call("SET", "k", "two", "NX"));
        Assert.Equal("+OK", there.Call("SET", "k", "two"));
        Assert.Equal("\"two\"", there.Call("GET", "k"));
        await Eventually.TrueAsync("the first silo has the new value", () => here.Call("GET", "k") == "\"two\"");
        Assert.Equal(":1", here.Call("DEL", "k"));
        Assert.Equal("nil", there.Call("GET", "k"));
        Assert.Equal("nil", here.Call("GET", "k"));

        using var engine = new LmCachePeer(_first);
        using var other = new LmCachePeer(_second);
        engine.Put("chunk", new byte[100_000], LmShape.Chunk);
        await Eventually.TrueAsync("the other silo has heard of it", () => other.Exists("chunk"));
        Assert.Equal(LmShape.Chunk, other.Get("chunk")?.Shape);
        _first.AssertHealthy();
        _second.AssertHealthy();
    }

    [Fact]
    public async Task Two_silos_that_replace_one_key_at_the_same_time_agree_in_the_end()
    {
        await Task.WhenAll(new[] { _first, _second }.Select(silo => Task.Run(() =>
        {
            using var peer = new RespPeer(silo);
            for (var i = 0; i < 300; i++)
                Assert.Equal("+OK", peer.Call("SET", "k", $"{silo.Ready.ProcessId}/{i}"));
        })));
        using var here = new RespPeer(_first);
        using var there = new RespPeer(_second);
        await Eventually.TrueAsync(
            "both silos tell the same", () => here.Call("GET", "k") is var value && value != "nil" && value == there.Call("GET", "k"));
        Assert.EndsWith("/299\"", here.Call("GET", "k"), StringComparison.Ordinal);
    }
}
