using System.Diagnostics;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A load that ended early, while the silo stood still in the middle of sending, never writes the caller's memory again.</summary>
[Trait("run", "kills")]
public sealed class PausedSiloTests
{
    private const int Blocks = 6;
    private const byte Mark = 0xA5;

    private static readonly CacheNamespace Ns =
        Prefixes.Namespace("large", KvLayout.Opaque([.. Enumerable.Range(0, 9).Select(layer => layer * (4 << 20))], 16));

    public static TheoryData<bool, bool> Ways => new()
    {
        { false, false },
        { false, true },
        { true, false },
        { true, true },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task After_a_load_has_returned_nothing_writes_the_callers_memory(bool unix, bool cancel)
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "256MiB"));
        await using var client = silo.Connect(unix ? silo.Unix : silo.Tcp, options =>
        {
            options.LoadTimeout = TimeSpan.FromSeconds(cancel ? 60 : 1);
            options.BreakerDelay = TimeSpan.FromMilliseconds(10);
        });
        var prefix = Prefixes.New(Ns, Blocks);
        await client.MustStoreAsync(prefix);
        var memory = prefix.Memory(Blocks);
        for (var round = 0; round < 2; round++)
        {
            using var cancellation = new CancellationTokenSource();
            var load = await PauseInTheMiddleAsync(silo, client, prefix, memory, cancellation.Token);
            var began = Stopwatch.GetTimestamp();
            if (cancel)
            {
                await cancellation.CancelAsync();
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => load);
            }
            else
            {
                var result = await load;
                Assert.Equal(MissReason.Deadline, result.Reason);
                Assert.InRange(result.Blocks, 0, Blocks - 1);
                for (var block = 0; block < result.Blocks; block++)
                    Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} was reported complete and is not.");
            }

            Report.Line($"The load returned {Stopwatch.GetElapsedTime(began).TotalMilliseconds:0} ms after the silo was paused.");
            foreach (var block in memory)
                block.Span.Fill(Mark);

            silo.Resume();
            await Eventually.TrueAsync("a later load succeeds", async () =>
            {
                var other = prefix.Memory(1);
                return (await client.LoadAsync(prefix, 0, other)).Blocks == 1 && Content.IsRight(other[0].Span, prefix.Key(0));
            });

            Assert.All(memory, block => Assert.Equal(-1, block.Span.IndexOfAnyExcept(Mark)));
        }
    }

    [Fact]
    public async Task After_a_store_has_returned_nothing_reads_the_callers_memory()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(Arena: "256MiB"));
        await using var client = silo.Connect(configure: options => options.BreakerDelay = TimeSpan.FromMilliseconds(10));
        var prefix = Prefixes.New(Ns, Blocks);
        var blocks = prefix.Blocks().Select(block => block.ToArray()).ToArray();
        await client.ConnectAsync();
        using var cancellation = new CancellationTokenSource();

        silo.Pause();
        var store = client.StoreAsync(
            prefix, 0, [.. blocks.Select(block => (ReadOnlyMemory<byte>)block)], cancellationToken: cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store);
        foreach (var block in blocks)
            block.AsSpan().Fill(Mark);
        silo.Resume();

        // Whatever of it became visible was complete before the call returned.
        await Eventually.TrueAsync("the silo has forgotten the broken put", async () => await client.StoreCounterAsync("writing") == 0);
        var memory = prefix.Memory(Blocks);
        var loaded = await client.LoadAsync(prefix, 0, memory);
        for (var block = 0; block < loaded.Blocks; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has bytes from after the call.");
    }

    // Starts loads until one is caught by the pause with its first bytes there and its last ones not.
    private static async Task<Task<LoadResult>> PauseInTheMiddleAsync(
        SiloProcess silo, KvCacheClient client, KvPrefix prefix, Memory<byte>[] memory, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            foreach (var block in memory)
                block.Span.Clear();
            var load = client.LoadAsync(prefix, 0, memory, cancellationToken: cancellationToken).AsTask();
            SpinWait.SpinUntil(() => memory[1].Span[^1] != 0 || load.IsCompleted, Eventually.Bound);
            silo.Pause();
            if (!load.IsCompleted && memory[^1].Span[^1] == 0)
            {
                Report.Line($"Attempt {attempt}: the silo was paused in the middle of a load.");
                return load;
            }

            silo.Resume();
            await load;
            Assert.InRange(attempt, 1, 50);
        }
    }
}
