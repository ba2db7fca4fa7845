using System.Net;
using KvCache.Engine.Wire;
using Xunit;

namespace KvCache.UnitTests;

public sealed class SiloEndpointTests
{
    [Fact]
    public async Task A_name_server_that_does_not_answer_holds_nobody_beyond_the_deadline()
    {
        var never = new TaskCompletionSource<IPAddress[]>();
        using var deadline = new CancellationTokenSource();
        var waiting =
            Task.Factory.StartNew(
            () => SiloEndpoint.Await(never.Task, deadline.Token), CancellationToken.None, TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        Assert.False(waiting.IsCompleted);
        await deadline.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => waiting.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));
    }

    [Fact]
    public void An_answer_is_passed_on()
    {
        IPAddress[] addresses = [IPAddress.Loopback];
        Assert.Same(addresses, SiloEndpoint.Await(Task.FromResult(addresses), TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("tcp:cache.example:7070", typeof(DnsEndPoint))]
    [InlineData("tcp:10.0.0.1:7070", typeof(IPEndPoint))]
    [InlineData("tcp:[::1]:7070", typeof(IPEndPoint))]
    public void Names_are_looked_up_when_connecting_and_addresses_are_not(string text, Type expected)
    {
        Assert.IsType(expected, SiloEndpoint.TryParse(text)!.EndPoint);
    }
}
