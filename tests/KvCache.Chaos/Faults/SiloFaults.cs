using KvCache.Chaos.Checkers;
using KvCache.Chaos.Worlds;
using KvCache.Processes;

namespace KvCache.Chaos.Faults;

/// <summary>A silo dies (kill -9), and is started again.</summary>
internal sealed class KillFault : Fault
{
    private int _silo;

    public override string Name => "kill";

    public override string Description => "kill -9 of one silo, which is started again some seconds later";

    public override TimeSpan FailuresUntil => AfterKill;

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override Task InjectAsync(World world, Random dice) => world.Silos[_silo = dice.Next(world.Silos.Length)].KillAsync();

    public override Task CureAsync(World world)
    {
        world.Silos[_silo].Start();
        return Task.CompletedTask;
    }
}

/// <summary>All silos die at once, and all but one come back (R3).</summary>
internal sealed class AllKilledFault : Fault
{
    public override string Name => "all-killed";

    public override string Description => "kill -9 of all silos at once; all but one are started, and the last one when they are ready";

    public override TimeSpan FailuresUntil => Always;

    // Ready in 15 s, and then the last one.
    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(1);

    public override Task InjectAsync(World world, Random dice) => Task.WhenAll(world.Silos.Select(silo => silo.KillAsync()));

    public override async Task CureAsync(World world)
    {
        foreach (var silo in world.Silos.Skip(1))
            silo.Start();
        var took = await World.UntilAsync(
            "the silos that came back are ready",
            async () => (await Task.WhenAll(world.Silos.Skip(1).Select(silo => silo.GetAsync("/readyz"))).ConfigureAwait(false))
                .All(answer => answer is not null && answer.Contains("\"ready\":true", StringComparison.Ordinal)),
            TimeSpan.FromSeconds(90)).ConfigureAwait(false);
        Note = $"ready {took.TotalSeconds:0.0} s after the start";
        world.Silos[0].Start();
        if (took > RecoveryLimit * MachineLoad.Scale)
            throw new TimeoutException($"The silos were ready {took.TotalSeconds:0.0} s after their start; 15 s were promised.");
    }
}

/// <summary>A silo stands still.</summary>
internal sealed class FreezeFault(string name, int seconds) : Fault
{
    private int _silo;

    public override string Name => name;

    public override string Description => $"SIGSTOP of one silo for {seconds} s";

    public override TimeSpan FailuresUntil => AfterSilence;

    // One that was declared dead meanwhile ends, and is started again.
    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(IsLong ? 15 : 10);

    public override IReadOnlyList<string> Errors =>
        IsLong ? [.. DeclaredDead, "Orleans.Runtime.MembershipService.LocalSiloHealthMonitor"] : [];

    private bool IsLong => seconds > 10;

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(seconds);

    public override Task InjectAsync(World world, Random dice)
    {
        world.Silos[_silo = dice.Next(world.Silos.Length)].Pause();
        return Task.CompletedTask;
    }

    public override Task CureAsync(World world)
    {
        world.Silos[_silo].Resume();
        return Task.CompletedTask;
    }
}

/// <summary>The silos are restarted one after another, as an update does.</summary>
internal sealed class RollingFault : Fault
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(40);

    public override string Name => "rolling";

    public override string Description => "SIGTERM of each silo in turn, and a start when it has ended";

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override TimeSpan Hold(Random dice) => TimeSpan.Zero;

    public override async Task InjectAsync(World world, Random dice)
    {
        for (var i = 0; i < world.Silos.Length; i++)
        {
            var (code, took) = await world.Silos[i].StopAsync(Limit).ConfigureAwait(false);
            Note += $"silo {i} {(code is null ? "had to be killed" : $"ended with {code}")} after {took.TotalSeconds:0.0} s; ";
            world.Silos[i].Start();
            if (i + 1 < world.Silos.Length)
                await world.SettledAsync(Limit).ConfigureAwait(false);
        }
    }
}

/// <summary>The clock of a silo is wrong.</summary>
internal sealed class ClockFault(string name, string offset) : Fault
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(40);

    // The library makes a silo several times as slow: on a busy machine it may not answer while it starts, is declared dead, and comes
    // again.
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(2);
    private int _silo;

    public override string Name => name;

    public override string Description => $"a silo is restarted with a clock of {offset}, and later with a right one";

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override IReadOnlyList<string> Errors => DeclaredDead;

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(8);

    public override string? WhyNot(World world) => FakeClock.WhyNot;

    public override async Task InjectAsync(World world, Random dice)
    {
        var silo = world.Silos[_silo = dice.Next(world.Silos.Length)];
        await silo.StopAsync(Limit).ConfigureAwait(false);
        silo.Start(clock: offset);
        var took = await world.SettledAsync(StartLimit).ConfigureAwait(false)
            ?? throw new TimeoutException($"The silo with the wrong clock was not ready within {StartLimit.TotalSeconds:0} s.");
        Note = $"ready {took.TotalSeconds:0.0} s after its start with the wrong clock";
    }

    public override async Task CureAsync(World world)
    {
        await world.Silos[_silo].StopAsync(Limit).ConfigureAwait(false);
        world.Silos[_silo].Start();
    }
}
