using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using KvCache.ProcessTests.Infrastructure;
using KvCache.ProcessTests.LmCache;
using KvCache.ProcessTests.Resp;
using KvCache.ProcessTests.Tenants;
using KvCache.QuickStart;
using KvCache.Testing;
using Xunit;

namespace KvCache.ProcessTests;

/// <summary>Fault T3: who has not proved who he is takes nobody's place.</summary>
public sealed class SilentSocketTests
{
    private const int Clients = 20;

    // More than all places of a listener together.
    private const int Silent = 800;

    [Theory]
    [InlineData("data")]
    [InlineData("redis")]
    [InlineData("lm")]
    [InlineData("http")]
    public async Task New_clients_are_served_while_another_address_opens_silent_sockets_again_and_again(string door)
    {
        await using var silo = await TwoTenants.StartAsync();
        var address = AddressOf(silo, door);
        using var ended = new CancellationTokenSource();
        var opened = 0;
        var attack = Task.Run(() => OpenSilentSockets(address, () => Interlocked.Increment(ref opened), ended.Token));
        await Eventually.TrueAsync("all places would be taken", () => Volatile.Read(ref opened) > Silent);
        var served = 0;
        for (var i = 0; i < Clients; i++)
            served += await IsServedAsync(silo, door) ? 1 : 0;
        var during = Volatile.Read(ref opened);
        await ended.CancelAsync();
        await attack;
        Assert.Equal(Clients, served);
        Assert.True(during > Silent);
        silo.AssertHealthy();
        Assert.True(silo.Log.Length < 200_000, $"Silent sockets filled the log with {silo.Log.Length} characters.");
    }

    [Fact]
    public async Task Before_its_proof_a_connection_ends_in_time_whatever_it_sends()
    {
        await using var silo =
            await TwoTenants.StartAsync(("Resp:HandshakeTimeout", "00:00:01"), ("DataPlane:HandshakeTimeout", "00:00:01"));
        using var redis = new RespPeer(silo);
        await Eventually.TrueAsync("the Redis endpoint ends a connection that only says PING", () =>
        {
            try
            {
                return redis.Call("PING") == "closed";
            }
            catch (IOException)
            {
                return true;
            }
            catch (SocketException)
            {
                return true;
            }
        });
        using var data = new RawPeer(silo.Tcp);
        data.Send("KV"u8);
        data.ExpectClosed();
        silo.AssertHealthy();
    }

    [Fact]
    public async Task Idle_connections_to_HTTP_leave_files_for_the_data_plane()
    {
        await using var silo = await TwoTenants.StartAsync();
        silo.LimitOpenFiles(silo.OpenFiles + 700);
        var sockets = new List<Socket>();
        try
        {
            for (var i = 0; i < 1300; i++)
                sockets.Add(Silence(AddressOf(silo, "http")));
            for (var i = 0; i < Clients; i++)
                Assert.True(await IsServedAsync(silo, "data"));
        }
        finally
        {
            sockets.ForEach(socket => socket.Dispose());
        }

        silo.AssertHealthy();
    }

    private static IPEndPoint AddressOf(SiloProcess silo, string door) => IPEndPoint.Parse(door switch
    {
        "data" => silo.Tcp["tcp:".Length..],
        "redis" => silo.Ready.Resp,
        "lm" => silo.Ready.LmCache,
        _ => silo.Ready.Http["http://".Length..],
    });

    private static async Task<bool> IsServedAsync(SiloProcess silo, string door)
    {
        try
        {
            switch (door)
            {
                case "data":
                    using (RawPeer.Authenticated(silo.Tcp, "acme", TwoTenants.AcmeSecret))
                        return true;
                case "redis":
                    using (var redis = new RespPeer(silo))
                        return redis.Call("AUTH", "acme", TwoTenants.AcmeSecret) == "+OK" && redis.Call("PING") == "+PONG";
                case "lm":
                    using (var lm = new LmCachePeer(silo))
                        return lm.Call(5) == 200; // health
                default:
                    using (var handler = new SocketsHttpHandler())
                    using (var http = new HttpClient(handler) { BaseAddress = new Uri(silo.Ready.Http) })
                    {
                        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", TwoTenants.AcmeSecret);
                        return (await http.GetAsync("/v1/stats")).IsSuccessStatusCode;
                    }
            }
        }
        catch (Exception e) when (e is SocketException or IOException or HttpRequestException)
        {
            Report.Line($"{door}: {e.Message}");
            return false;
        }
    }

    private static Socket Silence(IPEndPoint address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Parse("127.0.0.2"), 0));
        socket.Connect(address);
        return socket;
    }

    private static void OpenSilentSockets(IPEndPoint address, Action opened, CancellationToken cancellationToken)
    {
        var sockets = new Queue<Socket>();
        try
        {
            while (!cancellationToken.IsCancellationRequested)
            {
                try
                {
                    sockets.Enqueue(Silence(address));
                    opened();
                }
                catch (SocketException)
                {
                    // The silo's queue of connections is full for a moment.
                }

                if (sockets.Count > Silent)
                    sockets.Dequeue().Dispose();
            }
        }
        finally
        {
            foreach (var socket in sockets)
                socket.Dispose();
        }
    }
}
