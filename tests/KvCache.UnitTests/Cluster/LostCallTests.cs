using KvCache.Silo.Cluster;
using Orleans.Runtime;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Which calls were lost on their way, and which have failed.</summary>
public sealed class LostCallTests
{
    public static TheoryData<Exception> OfSilosThatAreGone =>
        [new SiloUnavailableException(), new OrleansException("x"), new TimeoutException(), new TaskCanceledException()];

    [Theory]
    [MemberData(nameof(OfSilosThatAreGone))]
    public void What_fails_because_a_silo_has_died_is_lost(Exception exception) => Assert.True(LostCalls.IsLost(exception));

    [Fact]
    public void What_its_caller_has_cancelled_is_not_lost()
    {
        using var caller = new CancellationTokenSource();
        Assert.True(LostCalls.IsLost(new OperationCanceledException(), caller.Token)); // Orleans has cancelled it
        caller.Cancel();
        Assert.False(LostCalls.IsLost(new OperationCanceledException(), caller.Token));
        Assert.True(LostCalls.IsLost(new SiloUnavailableException(), caller.Token));
    }

    [Fact]
    public void A_defect_is_not_lost()
    {
        Assert.False(LostCalls.IsLost(new InvalidOperationException()));
        Assert.False(LostCalls.IsLost(new KvFormatException("x")));
    }
}
