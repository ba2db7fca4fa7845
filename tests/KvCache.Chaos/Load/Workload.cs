using KvCache.Chaos.Checkers;
using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Load;

/// <summary>How hard the silos are worked.</summary>
/// <param name="Workers">Engines: each has a client, a home silo, and chains that only it writes.</param>
/// <param name="Pace">Pause behind each call of a worker.</param>
internal sealed record WorkloadSettings(int Workers = 4, TimeSpan Pace = default);

/// <summary>Writers, readers, deleters and expirers at all doors, until they are stopped. What they do derives from the seed.</summary>
internal sealed class Workload : IAsyncDisposable
{
    private const int ChainsOfWorker = 60, ValuesOfWorker = 40;

    private readonly CancellationTokenSource _done = new();
    private readonly List<Worker> _workers = [];
    private readonly Task[] _running;

    private Workload(World world, Journal journal, WorkloadSettings settings, long seed, int firstEntry)
    {
        var content = new SeededContent(seed);
        var shapes = new Shapes(seed);
        var all = new List<Chain>();
        var values = new List<KeyValue>();
        for (var i = 0; i <= settings.Workers; i++)
        {
            var own = Enumerable.Range(firstEntry + (i * ChainsOfWorker), ChainsOfWorker).Select(shapes.ChainOf).ToArray();
            all.AddRange(own);
            var dice = new Random(unchecked((int)(seed * 1_000_003) + i + firstEntry));
            _workers.Add(i < settings.Workers
                ? new BlockWorker(i, world, journal, content, dice, own, all)
                : new HttpWorker(world, journal, content, dice, own, all));
        }

        var kept = Enumerable.Range(firstEntry, ValuesOfWorker).Select(number => new KeyValue(1_000_000 + number,
            512 << (number % 6))).ToArray();
        values.AddRange(kept);
        _workers.Add(new RespWorker(world, journal, content, new Random(unchecked((int)seed) ^ firstEntry), kept));
        _running = [.. _workers.Select(worker => Task.Run(() => worker.RunAsync(settings.Pace, _done.Token)))];
    }

    /// <summary>Begins.</summary>
    /// <param name="world">Whom to work.</param>
    /// <param name="journal">Where everything is told.</param>
    /// <param name="settings">How hard.</param>
    /// <param name="seed">Of the run.</param>
    /// <param name="firstEntry">Number of the first entry: each workload of a run has its own.</param>
    public static Workload Start(World world, Journal journal, WorkloadSettings settings, long seed, int firstEntry = 0) =>
        new(world, journal, settings, seed, firstEntry);

    /// <summary>Ends the load, and fails when a worker did: a defect of the harness.</summary>
    public async Task StopAsync()
    {
        await _done.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_running).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        await _done.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var worker in _workers)
            await worker.DisposeAsync().ConfigureAwait(false);
        _done.Dispose();
    }
}
