using KvCache.Silo.Cluster;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Loops that must run for ever.</summary>
public sealed class LoopHealthTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_loop_that_fails_is_begun_again_and_named()
    {
        using var health = new LoopHealth(TimeProvider.System, NullLogger<LoopHealth>.Instance);
        var runs = 0;
        await health.KeepRunningAsync(
            "The sweeper", _ => ++runs < 3 ? throw new InvalidOperationException("no luck") : Task.CompletedTask, Token);
        Assert.Equal((3, 2L), (runs, health.Restarts));
        Assert.Contains("The sweeper failed and was begun again: no luck", Assert.Single(health.Problems), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_loop_that_is_cancelled_by_itself_is_begun_again_too()
    {
        using var health = new LoopHealth(TimeProvider.System, NullLogger<LoopHealth>.Instance);
        var runs = 0;
        await health.KeepRunningAsync("A loop", _ => ++runs < 2 ? throw new OperationCanceledException() : Task.CompletedTask, Token);
        Assert.Equal(2, runs);
    }

    [Fact]
    public async Task A_loop_ends_with_the_silo()
    {
        using var health = new LoopHealth(TimeProvider.System, NullLogger<LoopHealth>.Instance);
        using var stopping = new CancellationTokenSource();
        var running = health.KeepRunningAsync("A loop", token => Task.Delay(Timeout.Infinite, token), stopping.Token);
        await stopping.CancelAsync();
        await running;
        Assert.Empty(health.Problems);
    }

    [Theory]
    [InlineData(new long[] { 5 }, 5)] // of two silos the other one has to be heard
    [InlineData(new long[] { 1, 9 }, 9)] // of three, one may be silent: it cannot declare anybody dead alone
    [InlineData(new long[] { 7, 1, 9, 3 }, 3)]
    public void A_silo_is_proven_alive_by_all_others_but_one(long[] provenAt, long proof) =>
        Assert.Equal(proof, CutOffWatch.ProofOf(provenAt));
}
