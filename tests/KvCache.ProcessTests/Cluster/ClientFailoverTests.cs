using System.Diagnostics;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A client whose silos are killed, frozen or full while it reads and stores.</summary>
[Trait("run", "kills")]
public sealed class ClientFailoverTests
{
    private const int Blocks = 24;
    private const byte Mark = 0xA5;

    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);
    private static readonly CacheNamespace Ns = Prefixes.Namespace("failover", KvLayout.Opaque([0, 1 << 20, 2 << 20], 16));

    [Fact]
    public async Task A_load_goes_on_with_another_holder_when_one_is_killed_in_the_middle()
    {
        await using var silos = await StartAsync();
        var (prefix, holder, home) = await StoreTwiceAsync(silos);
        await using var reader = silos.Connect(home, Hurried);
        await Eventually.TrueAsync("the prefix is found", async () => (await reader.MatchAsync(prefix)).Blocks == Blocks);
        var memory = prefix.Memory(Blocks);

        var load = reader.LoadAsync(prefix, 0, memory).AsTask();
        SpinWait.SpinUntil(() => memory[..4].Any(block => block.Span[^1] != 0) || load.IsCompleted, Eventually.Bound);
        var wasRunning = !load.IsCompleted;
        await silos[holder].KillAsync();

        Assert.Equal(new LoadResult(Blocks, MissReason.None), await load);
        Report.Line(wasRunning ? "The silo was killed while the load was running." : "The load had ended before the silo was killed.");
        CheckAll(prefix, memory);
        await reader.MustLoadAsync(prefix);
        Assert.True((await reader.GetStatisticsAsync()).Silos.Sum(silo => silo.LoadedBlocks) >= 2 * Blocks);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_frozen_holder_costs_a_part_of_the_deadline_and_never_writes_behind_the_load(bool inTheMiddle)
    {
        await using var silos = await StartAsync();
        var (prefix, holder, home) = await StoreTwiceAsync(silos);
        await using var reader = silos.Connect(home, Hurried);
        await Eventually.TrueAsync("the prefix is found", async () => (await reader.MatchAsync(prefix)).Blocks == Blocks);
        await reader.MustLoadAsync(prefix);
        var memory = prefix.Memory(Blocks);

        var load = inTheMiddle ? await FreezeInTheMiddleAsync(silos, holder, reader, prefix, memory) : FreezeBefore();
        var began = Stopwatch.GetTimestamp();
        Assert.Equal(new LoadResult(Blocks, MissReason.None), await load);
        var took = Stopwatch.GetElapsedTime(began);
        Report.Line($"The load ended {took.TotalMilliseconds:0} ms after one of its two silos was frozen.");
        CheckAll(prefix, memory);
        Assert.InRange(took, TimeSpan.Zero, Deadline / 2);

        foreach (var block in memory)
            block.Span.Fill(Mark);
        silos[holder].Resume();
        await using var direct = silos.Connect(holder, Hurried);
        await Eventually.TrueAsync("the silo answers again, or has heard that it is dead", async () =>
            silos[holder].HasExited || (await direct.LoadAsync(prefix, 0, prefix.Memory(Blocks))).Blocks == Blocks);
        Assert.All(memory, block => Assert.Equal(-1, block.Span.IndexOfAnyExcept(Mark)));

        Task<LoadResult> FreezeBefore()
        {
            silos[holder].Pause();
            return reader.LoadAsync(prefix, 0, memory).AsTask();
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_next_endpoint_takes_over_when_the_home_silo_is_gone(bool frozen)
    {
        await using var silos = await StartAsync();
        var prefix = Prefixes.New(Ns, Blocks);
        await using var writer = silos.Connect(0);
        await writer.MustStoreAsync(prefix);
        await using var reader = silos.Connect(1, options =>
        {
            Hurried(options);
            options.Endpoints.Add(silos[2].Tcp);
        });
        await using var other = silos.Connect(2);
        foreach (var client in (KvCacheClient[])[reader, other])
            await Eventually.TrueAsync("the prefix is found", async () => (await client.MatchAsync(prefix)).Blocks == Blocks);
        var match = await reader.MatchAsync(prefix, TimeSpan.FromSeconds(20));
        Assert.True(match.Held);

        if (frozen)
            silos[1].Pause();
        else
            await silos[1].KillAsync();
        var began = Stopwatch.GetTimestamp();
        await reader.MustLoadAsync(prefix);
        Report.Line($"The load took {Stopwatch.GetElapsedTime(began).TotalMilliseconds:0} ms.");
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, Deadline / 2);

        await match.DisposeAsync();
        var more = Prefixes.New(Ns, 2);
        await Eventually.TrueAsync("blocks are stored at the next endpoint", async () =>
        {
            await reader.StoreAsync(more, 0, more.Blocks());
            return silos.BlocksAt(2, more) == 2;
        });
        Assert.InRange((await reader.DeleteAsync(prefix)).Deleted, 0, Blocks); // not confirmed before the lost silo is declared dead
        await Eventually.TrueAsync(
            "nothing of it is used or held any more", async () => await writer.StoreCounterAsync("arenaUsedBytes") == 0);
    }

    [Fact]
    public async Task What_a_full_silo_refuses_is_stored_at_the_one_that_it_names()
    {
        await using var silos =
            await SiloCluster.StartAsync(2, settings: new SiloSettings(Arena: "16MiB", Settings: new Dictionary<string, string>
            {
                ["KvCache:DataPlane:MaxHeldShare"] = "1",
                ["KvCache:Store:MaxHeldShare"] = "1",
                ["KvCache:Store:MaxWritingShare"] = "1",
            }));
        await using var client = silos.Connect(0, Hurried);
        var held = Prefixes.New(Ns, 8);
        await client.MustStoreAsync(held);
        await using var match = await client.MatchAsync(held, TimeSpan.FromSeconds(30)); // all of its memory
        var prefix = Prefixes.New(Ns, 5);

        var stored = 0;
        await Eventually.TrueAsync("all blocks are stored", async () =>
        {
            var result = await client.StoreAsync(prefix, 0, prefix.Blocks());
            Report.Line($"{result}");
            stored += result.Stored;
            return result.Refused == 0 && result.Stored + result.AlreadyStored == 5;
        });

        Assert.Equal((5, 0, 5), (stored, silos.BlocksAt(0, prefix), silos.BlocksAt(1, prefix)));
        await Eventually.TrueAsync("the full silo knows them", async () => (await client.MatchAsync(prefix)).Blocks == 5);
        await client.MustLoadAsync(prefix);
        await client.MustLoadAsync(held);
        var uses = (await client.GetStatisticsAsync()).Silos;
        Assert.Equal([8, 5], uses.Select(use => use.StoredBlocks));
        Assert.Equal([8, 5], uses.Select(use => use.LoadedBlocks));
        silos.AssertHealthy();
    }

    private static Task<SiloCluster> StartAsync() =>
        SiloCluster.StartAsync(
            3, settings: new SiloSettings(
            Arena: "128MiB", Settings: new Dictionary<string, string> { ["KvCache:Cluster:CopyAfterReads"] = "0" }));

    // A prefix on the second silo and one other; the third one is the home of its reader.
    private static async Task<(KvPrefix Prefix, int Holder, int Home)> StoreTwiceAsync(SiloCluster silos)
    {
        var prefix = Prefixes.New(Ns, Blocks);
        await using var writer = silos.Connect(1);
        Assert.Equal(Blocks, (await writer.StoreAsync(prefix, 0, prefix.Blocks(), new StoreOptions(Replicas: 2))).Stored);
        await Eventually.TrueAsync(
            "two silos have all blocks", () => silos.BlocksAt(0, prefix) == Blocks || silos.BlocksAt(2, prefix) == Blocks);
        return (prefix, 1, silos.BlocksAt(0, prefix) == Blocks ? 2 : 0);
    }

    private static void Hurried(KvCacheClientOptions options)
    {
        options.LoadTimeout = options.StoreTimeout = Deadline;
        options.MatchTimeout = Deadline / 4;
        options.SiloPatience = Patience;
        options.BreakerDelay = TimeSpan.FromMilliseconds(50);
    }

    // Starts loads until one is caught by the freeze with its first bytes there and others not.
    private static async Task<Task<LoadResult>> FreezeInTheMiddleAsync(
        SiloCluster silos, int holder, KvCacheClient reader, KvPrefix prefix, Memory<byte>[] memory)
    {
        for (var attempt = 1; ; attempt++)
        {
            foreach (var block in memory)
                block.Span.Clear();
            var load = reader.LoadAsync(prefix, 0, memory).AsTask();
            SpinWait.SpinUntil(() => memory.Count(block => block.Span[^1] != 0) > 2 || load.IsCompleted, Eventually.Bound);
            silos[holder].Pause();
            if (!load.IsCompleted && memory.Any(block => block.Span[0] == 0))
            {
                Report.Line($"Attempt {attempt}: the silo was frozen in the middle of a load.");
                return load;
            }

            silos[holder].Resume();
            await load;
            Assert.InRange(attempt, 1, 50);
        }
    }

    private static void CheckAll(KvPrefix prefix, Memory<byte>[] memory)
    {
        for (var block = 0; block < memory.Length; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
    }
}
