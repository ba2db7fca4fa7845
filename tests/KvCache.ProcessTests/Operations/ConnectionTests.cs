using System.Net.Sockets;
using KvCache.Orleans;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

public sealed class ConnectionTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("connections", KvLayout.Opaque(1 << 20, 16));

    [Fact]
    public async Task Two_loads_at_once_have_a_connection_each_when_one_was_there_before()
    {
        await using var silo = await SiloProcess.StartAsync();
        using var relay = new Relay(silo.Tcp);
        await using var client = silo.Connect(relay.Endpoint, options => options.DataConnections = 2);
        await using var observer = silo.Connect();
        var prefix = Prefixes.New(Ns, 1);
        await client.MustStoreAsync(prefix);
        Assert.Equal(2, await ConnectionsAsync()); // the client's first one, and the observer's

        silo.Pause();
        var loads = new[] { client.LoadAsync(prefix, 0, prefix.Memory(1)).AsTask(),
            client.LoadAsync(prefix, 0, prefix.Memory(1)).AsTask() };
        await Eventually.TrueAsync("the second connection is asked for", () => relay.Accepted == 2);
        silo.Resume();

        Assert.All(await Task.WhenAll(loads), result => Assert.Equal(new LoadResult(1, MissReason.None), result));
        Assert.Equal(3, await ConnectionsAsync());

        async Task<int> ConnectionsAsync() => (await observer.SiloAsync()).GetProperty("connections").GetInt32();
    }

    [Fact]
    public async Task A_silo_is_found_by_its_host_name()
    {
        await using var silo = await SiloProcess.StartAsync();
        await using var client = silo.Connect(silo.Tcp.Replace("127.0.0.1", "localhost", StringComparison.Ordinal));
        var prefix = Prefixes.New(Ns, 1);
        await client.MustStoreAsync(prefix);
        await client.MustLoadAsync(prefix);
    }

    [Fact]
    public async Task A_silo_that_may_open_no_more_files_goes_on_and_accepts_again_when_it_may()
    {
        await using var silo = await SiloProcess.StartAsync();
        await using var bystander = silo.Connect();
        var prefix = Prefixes.New(Ns, 1);
        await bystander.MustStoreAsync(prefix);
        var peers = new List<RawPeer>();

        silo.LimitOpenFiles(silo.OpenFiles + 8);
        await Eventually.TrueAsync("the silo cannot accept a connection", () =>
        {
            if (peers.Count < 400)
                peers.Add(new RawPeer(silo.Tcp)); // the kernel connects those that the silo cannot accept
            return silo.Log.Contains("A connection could not be accepted", StringComparison.Ordinal);
        });

        Report.Line($"{peers.Count} connections exhausted the silo's files.");
        await bystander.MustLoadAsync(prefix);
        peers.ForEach(peer => peer.Dispose());

        // Those that have left still stand in the queue before a late one, which the silo has no file for until it has closed some of them.
        await Eventually.TrueAsync("a late peer is let in", () =>
        {
            try
            {
                using var late = RawPeer.Authenticated(silo.Tcp, "default", "");
                late.Open(Ns);
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        });
        await bystander.MustLoadAsync(prefix);
        silo.AssertHealthy();
    }
}
