using System.Net;
using System.Net.Sockets;
using KvCache.Silo.Cluster;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

public sealed class LeftSilosTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_silo_whose_address_refuses_is_not_waited_for()
    {
        var left = new LeftSilos(TimeSpan.FromHours(1));
        Assert.True(left.Silent.IsCompleted);
        left.Add([$"tcp:{Free()}"]);
        await left.Silent.WaitAsync(Eventually.Bound, Token);
    }

    [Fact]
    public async Task A_silo_that_still_listens_is_waited_for_until_it_does_not()
    {
        var left = new LeftSilos(TimeSpan.FromHours(1));
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        left.Add([$"tls:{listener.LocalEndpoint}"]);
        left.Add([$"tcp:{Free()}"]); // another one, that is gone
        using (await listener.AcceptSocketAsync(Token))
        using (await listener.AcceptSocketAsync(Token))
            Assert.False(left.Silent.IsCompleted);
        listener.Stop();
        await left.Silent.WaitAsync(Eventually.Bound, Token);
    }

    [Fact]
    public async Task Nobody_is_waited_for_longer_than_a_silo_serves_by_itself()
    {
        var left = new LeftSilos(TimeSpan.FromMilliseconds(200));
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        left.Add([$"tcp:{listener.LocalEndpoint}"]);
        left.Add([]); // it has never told where it is
        Assert.False(left.Silent.IsCompleted);
        await left.Silent.WaitAsync(Eventually.Bound, Token);
    }

    private static EndPoint Free()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return listener.LocalEndpoint;
    }
}
