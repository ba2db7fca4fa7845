using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using KvCache.Chaos.Checkers;
using KvCache.Chaos.Faults;
using KvCache.Chaos.Load;
using KvCache.Chaos.Reports;
using KvCache.Chaos.Worlds;
using KvCache.Processes;

namespace KvCache.Chaos;

/// <summary>Rounds of faults under a load that compares every byte, and what the checkers say of it.</summary>
internal sealed class ChaosRun
{
    private static readonly TimeSpan MostRecovery = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan SamplePeriod = TimeSpan.FromSeconds(1);

    private readonly ChaosSettings _settings;
    private readonly Action<string> _tell;
    private readonly Journal _journal = new();
    private readonly Dictionary<string, string> _skipped = [];
    private readonly List<string> _networks = [];
    private readonly long _began = Stopwatch.GetTimestamp();

    private ChaosRun(ChaosSettings settings, Action<string> tell)
    {
        (_settings, _tell) = (settings, tell);
        _journal.Told += breach => tell($"{breach.Promise.ToUpperInvariant()} ({breach.Fault}): {breach.Sentence}");
    }

    /// <summary>Runs.</summary>
    /// <param name="settings">What.</param>
    /// <param name="tell">Hears how it goes on, in sentences.</param>
    /// <param name="cancellationToken">Ends it early: what was seen so far is reported.</param>
    public static async Task<ChaosReport> RunAsync(ChaosSettings settings, Action<string> tell, CancellationToken cancellationToken)
    {
        var run = new ChaosRun(settings, tell);
        var faults = settings.Faults.ToLookup(name => FaultCatalogue.Create(name).NeedsSentinels);
        if (faults[false].Any())
            await run.InWorldAsync([.. faults[false]], withSentinels: false, settings.Duration, cancellationToken).ConfigureAwait(false);
        if (faults[true].Any())
            await run.InSentinelWorldAsync([.. faults[true]], cancellationToken).ConfigureAwait(false);
        return ChaosReport.Of(
            settings, run._journal, run._skipped, string.Join("; ", run._networks.Distinct()), Stopwatch.GetElapsedTime(run._began));
    }

    private async Task InSentinelWorldAsync(string[] faults, CancellationToken cancellationToken)
    {
        if (ChaosSentinels.IsInstalled)
        {
            await InWorldAsync(faults, withSentinels: true, TimeSpan.Zero, cancellationToken).ConfigureAwait(false);
            return;
        }

        foreach (var fault in faults)
            _skipped[fault] = "There is no redis-sentinel on PATH.";
    }

    private async Task InWorldAsync(string[] faults, bool withSentinels, TimeSpan duration, CancellationToken cancellationToken)
    {
        var dice = new Random(unchecked((int)_settings.Seed));
        await using var world = await World.StartAsync(
            _settings.Silos, _settings.Arena, withSentinels, _settings.UseNamespaces, Logged).ConfigureAwait(false);
        _networks.Add(world.Network.Description);
        var redis = withSentinels ? "a Redis with sentinels" : "a Redis";
        _tell($"{_settings.Silos} silos and {redis} are there: {world.Network.Description}.");
        using var over = new CancellationTokenSource();
        await using var load = Workload.Start(world, _journal, _settings.Load, _settings.Seed, withSentinels ? 100_000 : 0);
        var sampling = Task.Run(() => SampleAsync(world, over.Token), CancellationToken.None);
        var began = Stopwatch.GetTimestamp();
        do
        {
            dice.Shuffle(faults);
            foreach (var name in faults)
            {
                if (cancellationToken.IsCancellationRequested)
                    break;
                if (FaultCatalogue.Create(name).WhyNot(world) is { } reason)
                    _skipped[name] = reason;
                else
                    await RoundAsync(world, FaultCatalogue.Create(name), dice).ConfigureAwait(false);
            }
        }
        while (!cancellationToken.IsCancellationRequested && (Stopwatch.GetElapsedTime(began) < duration || Reads < _settings.LeastReads));

        await load.StopAsync().ConfigureAwait(false);
        await over.CancelAsync().ConfigureAwait(false);
        await sampling.ConfigureAwait(false);
    }

    private void Logged(int silo, string line)
    {
        _journal.Logged(silo, line);
        if (_settings.Logs is { } folder)
        {
            lock (_networks)
                File.AppendAllText(Path.Combine(folder.FullName, $"silo{silo}.log"),
                    $"{Stopwatch.GetElapsedTime(_began).TotalSeconds:0.0} {line}\n");
        }
    }

    private static string Load => MachineLoad.Scale is var scale and > 1
        ? string.Create(CultureInfo.InvariantCulture, $" The machine is loaded: bounds of time count {scale:0.0} times.")
        : "";

    private long Reads => _journal.Phases.Sum(phase => phase.Verified);

    private async Task RoundAsync(World world, Fault fault, Random dice)
    {
        await Task.Delay(_settings.Rest, CancellationToken.None).ConfigureAwait(false);
        var now = Stopwatch.GetTimestamp();
        var phase = _journal.Begin(new Phase(fault.Name, now)
        {
            Injected = now,
            FailuresUntil = fault.FailuresUntil,
            StaleUntil = fault.StaleUntil,
            RecoveryLimit = fault.RecoveryLimit,
            Errors = fault.Errors,
        });
        try
        {
            await fault.InjectAsync(world, dice).ConfigureAwait(false);
            await Task.Delay(fault.Hold(dice), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or SocketException or RespError or ChildProcessException)
        {
            _journal.Break(AvailabilityChecker.Name, now, $"{fault.Name}: {e.Message}");
        }

        try
        {
            await fault.CureAsync(world).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or SocketException or RespError or ChildProcessException)
        {
            _journal.Break(AvailabilityChecker.Name, now, $"{fault.Name}: {e.Message}");
        }

        phase.Recovery = await world.SettledAsync(MostRecovery).ConfigureAwait(false);
        phase.Note = phase.Recovery is null ? await world.ProblemsAsync().ConfigureAwait(false) : fault.Note;
        await Task.Delay(_settings.Rest, CancellationToken.None).ConfigureAwait(false);
        _journal.Begin(new Phase("none", Stopwatch.GetTimestamp()));
        _tell(string.Create(CultureInfo.InvariantCulture,
            $"{Stopwatch.GetElapsedTime(_began):hh\\:mm\\:ss} {fault.Name}: {phase.Verified} reads, "
            + $"{phase.Failed} of {phase.Calls} calls failed (the last one {phase.LastFailure.TotalSeconds:0.0} s after the fault), "
            + $"slowest {phase.Slowest.TotalSeconds:0.0} s, "
            + $"whole after {phase.Recovery?.TotalSeconds ?? double.PositiveInfinity:0.0} s. {phase.Note}{Load}"));
    }

    private async Task SampleAsync(World world, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            foreach (var silo in world.Silos)
            {
                if (silo.IsAlive && await silo.MetricAsync("kvcache_arena_used_bytes").ConfigureAwait(false) is { } bytes)
                    _journal.Sampled(new SiloSample(silo.Number, (long)bytes, silo.ArenaBytes, silo.ResidentBytes));
            }

            await Task.Delay(SamplePeriod, CancellationToken.None).ConfigureAwait(false);
        }
    }
}
