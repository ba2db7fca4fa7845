using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using KvCache.Client;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Silo.Hosting;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The first match of a process connects and compiles, and finds what is there all the same; later ones never wait like
/// it.</summary>
[Collection(typeof(Apart))]
public class FirstCallTests
{
    private const string Endpoint = "KVCACHE_TEST_ENDPOINT";
    private static readonly CacheNamespace Ns = Prefixes.Namespace("first-call", KvLayout.Opaque(64 << 10, 16));
    private static readonly KvPrefix Prefix = KvPrefix.Of(Ns, [.. Enumerable.Range(0, 16 * 16)]);

    [Fact]
    public async Task A_fresh_process_on_a_loaded_machine_finds_what_is_there() => await FindsInFreshProcessesAsync(3);

    [Fact]
    [Trait("run", "long")]
    public async Task Twenty_fresh_processes_on_a_loaded_machine_find_what_is_there() => await FindsInFreshProcessesAsync(20);

    [Fact(Explicit = true)]
    public async Task In_a_process_of_its_own()
    {
        var options = new KvCacheClientOptions { Endpoints = { Environment.GetEnvironmentVariable(Endpoint)! } };
        await using var client = new KvCacheClient(options);
        Assert.Equal(Prefix.BlockCount, (await client.MatchAsync(Prefix)).Blocks);
        await client.MustLoadAsync(Prefix);
    }

    [Fact]
    public async Task Only_the_first_match_waits_longer_than_others_for_a_silo_that_does_not_answer()
    {
        using var silent = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        silent.Bind(new IPEndPoint(IPAddress.Loopback, 0)); // connections are made, and nobody ever answers
        silent.Listen();
        var options = new KvCacheClientOptions
        {
            Endpoints = { $"tcp:{silent.LocalEndPoint}" },
            MatchTimeout = TimeSpan.FromMilliseconds(10),
            FirstMatchTimeout = TimeSpan.FromMilliseconds(400),
            BreakerFailures = 1000,
        };
        await using var client = new KvCacheClient(options);
        client.WarmUp();

        Assert.True(await WaitedAsync(client) > options.FirstMatchTimeout / 2); // timers may be a little early
        // On a machine that is busy with other things a wait can be long; that all of them are cannot be.
        var others = new List<TimeSpan>();
        for (var i = 0; i < 20; i++)
            others.Add(await WaitedAsync(client));
        Report.Line($"Later matches took {string.Join(" ", others.Select(took => $"{took.TotalMilliseconds:0}"))} ms.");
        Assert.Contains(others, took => took < options.FirstMatchTimeout / 2);
    }

    private static async Task<TimeSpan> WaitedAsync(KvCacheClient client)
    {
        var began = Stopwatch.GetTimestamp();
        Assert.Equal((0, MissReason.Deadline), await client.MatchAsync(Prefix) is var match ? (match.Blocks, match.Reason) : default);
        return Stopwatch.GetElapsedTime(began);
    }

    private static async Task FindsInFreshProcessesAsync(int processes)
    {
        await using var silo = await SiloProcess.StartAsync();
        await using (var writer = silo.Connect())
            await writer.MustStoreAsync(Prefix);
        using var enough = new CancellationTokenSource();
        var load = Enumerable.Range(0, Environment.ProcessorCount * 2).Select(_ => Task.Factory.StartNew(
            () => SpinWait.SpinUntil(() => enough.IsCancellationRequested), TaskCreationOptions.LongRunning)).ToArray();
        try
        {
            for (var i = 0; i < processes; i++)
            {
                await using var process = ChildProcess.Start(ProgramCommand.Own(
                    "KvCache.ProcessTests.dll",
                        ["-noColor", "-noLogo", "-explicit", "only", "-method", $"*{nameof(In_a_process_of_its_own)}"],
                    (Endpoint, silo.Tcp)));
                await process.WaitAsync().WaitAsync(Eventually.Bound);
                Assert.Contains("Total: 1, Errors: 0, Failed: 0", process.LastLines, StringComparison.Ordinal);
            }
        }
        finally
        {
            await enough.CancelAsync();
            await Task.WhenAll(load);
        }
    }
}
