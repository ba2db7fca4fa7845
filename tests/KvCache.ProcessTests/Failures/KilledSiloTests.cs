using System.Diagnostics;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

[Trait("run", "kills")]
public sealed class KilledSiloTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(3);

    [Fact]
    public async Task A_silo_that_is_back_is_used_at_once_and_also_after_its_breaker_has_opened()
    {
        var prefix = Prefixes.New(Prefixes.Namespace("back", KvLayout.Opaque(4096, 16)), 1);
        var first = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false));
        var settings = new SiloSettings(UseUnix: false, Tcp: first.Tcp["tcp:".Length..]);
        await using var client = first.Connect(configure: options =>
        {
            options.BreakerDelay = TimeSpan.FromMinutes(10); // no call tries before
            options.BreakerFailures = 3;
        });
        Assert.Equal(MissReason.Absent, await ReasonAsync());

        // While the client's connections are idle: it does not even notice.
        await first.KillAsync();
        await first.DisposeAsync();
        await using (await SiloProcess.StartAsync(settings))
            Assert.Equal(MissReason.Absent, await ReasonAsync());

        for (var call = 0; call < 4; call++)
            Assert.Equal(MissReason.Unavailable, await ReasonAsync());
        await using var third = await SiloProcess.StartAsync(settings);
        await Eventually.TrueAsync("the client has found out by itself", async () => await ReasonAsync() == MissReason.Absent);

        async Task<MissReason> ReasonAsync() => (await client.MatchAsync(prefix)).Reason;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Calls_end_as_misses_when_the_silo_is_killed_and_go_on_with_the_next_one(bool unix)
    {
        var ns = Prefixes.Namespace("killed", KvLayout.Opaque([0, 1 << 20, 4 << 20], 16));
        var folder = Directory.CreateTempSubdirectory("kvcache-killed-").FullName;
        await using var first = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true, Folder: folder));
        var tcp = first.Tcp["tcp:".Length..];
        await using var client = first.Connect(unix ? first.Unix : first.Tcp, options =>
        {
            options.MatchTimeout = options.LoadTimeout = options.StoreTimeout = Deadline;
            options.BreakerDelay = TimeSpan.FromMilliseconds(50);
        });
        using var done = new CancellationTokenSource();
        var slowest = TimeSpan.Zero;
        long calls = 0, misses = 0;
        var workers = Enumerable.Range(0, 6).Select(worker => Task.Run(() => WorkAsync(worker))).ToArray();

        await Eventually.TrueAsync("loads and stores are running", () => Volatile.Read(ref calls) > 30);
        await first.KillAsync();
        var before = Volatile.Read(ref misses);
        await Eventually.TrueAsync("calls are misses", () => Volatile.Read(ref misses) > before + 20);
        Assert.True(File.Exists(first.ArenaPath) && File.Exists(first.UnixPath), "A killed silo leaves its files behind.");

        await using var second = await SiloProcess.StartAsync(new SiloSettings(Tcp: tcp, UseArenaFile: true, Folder: folder));
        Assert.Equal(first.Tcp, second.Tcp);
        var prefix = Prefixes.New(ns, 1);
        await Eventually.TrueAsync("the client stores and loads at the new silo", async () =>
        {
            await client.StoreAsync(prefix, 0, prefix.Blocks());
            return (await client.LoadAsync(prefix, 0, prefix.Memory(1))).Blocks == 1;
        });

        await done.CancelAsync();
        await Task.WhenAll(workers);
        Report.Line($"{calls} calls, {misses} misses; the slowest call took {slowest.TotalMilliseconds:0} ms.");
        Assert.InRange(slowest, TimeSpan.Zero, Deadline + Eventually.Bound);
        second.AssertHealthy();
        Assert.Equal(0, await second.StopAsync());
        Directory.Delete(folder, recursive: true);

        async Task WorkAsync(int worker)
        {
            var mine = Prefixes.New(ns, 3);
            var blocks = mine.Blocks();
            var memory = mine.Memory(3);
            while (!done.IsCancellationRequested)
            {
                var began = Stopwatch.GetTimestamp();
                var stored = await client.StoreAsync(mine, 0, blocks);
                var loaded = await client.LoadAsync(mine, 0, memory);
                for (var block = 0; block < loaded.Blocks; block++)
                    Assert.True(Content.IsRight(memory[block].Span, mine.Key(block)), $"Worker {worker} got wrong bytes.");
                Assert.NotEqual(MissReason.Corrupt, loaded.Reason);
                Assert.NotEqual(MissReason.Refused, stored.Reason);
                Interlocked.Increment(ref calls);
                lock (done)
                    slowest = Stopwatch.GetElapsedTime(began) is var took && took > slowest ? took : slowest;
                if (loaded.Blocks == 3)
                {
                    await client.DeleteAsync(mine);
                    continue;
                }

                Interlocked.Increment(ref misses);
                await Task.Delay(1); // a miss costs an engine a prefill; here it leaves the cores to the silo that starts
            }
        }
    }

    [Fact]
    public async Task A_client_uses_the_next_silo_of_its_list_when_the_first_is_killed()
    {
        var ns = Prefixes.Namespace("next", KvLayout.Opaque(1 << 20, 16));
        await using var first = await SiloProcess.StartAsync();
        await using var second = await SiloProcess.StartAsync();
        await using var client = first.Connect(configure: options => options.Endpoints.Add(second.Tcp));
        var prefix = Prefixes.New(ns, 2);
        await client.MustStoreAsync(prefix);

        await first.KillAsync();

        Assert.Equal(new LoadResult(0, MissReason.Absent), await client.LoadAsync(prefix, 0, prefix.Memory(2)));
        await client.MustStoreAsync(prefix);
        await client.MustLoadAsync(prefix);
        second.AssertHealthy();
    }
}
