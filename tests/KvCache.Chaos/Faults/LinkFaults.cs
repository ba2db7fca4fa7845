using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Faults;

/// <summary>Clients do not reach one silo's data plane.</summary>
internal sealed class ClientCutFault : Fault
{
    public override string Name => "cut-clients";

    public override string Description => "nothing passes between the clients and one silo, and nobody is told";

    public override TimeSpan FailuresUntil => AfterSilence;

    public override Task InjectAsync(World world, Random dice) => world.Network.CutAsync(dice.Next(world.Silos.Length), Node.Clients);

    public override Task CureAsync(World world) => world.Network.HealAsync();
}

/// <summary>Two silos do not hear each other.</summary>
internal sealed class SiloCutFault : Fault
{
    public override string Name => "cut-silos";

    public override string Description => "nothing passes between two silos, and nobody is told";

    public override TimeSpan FailuresUntil => AfterSilence;

    public override TimeSpan StaleUntil => TimeSpan.FromSeconds(15);

    // One of them may have been declared dead.
    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override string? WhyNot(World world) =>
        world.Network.CanCut(0, 1) ? null : "Links between silos are cut in network namespaces only (root and iproute2).";

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(8);

    public override Task InjectAsync(World world, Random dice)
    {
        var one = dice.Next(world.Silos.Length);
        return world.Network.CutAsync(one, (one + 1) % world.Silos.Length);
    }

    public override Task CureAsync(World world) => world.Network.HealAsync();
}

/// <summary>A silo hears neither the others nor Redis, and clients reach it all the same (C8).</summary>
internal sealed class CutOffFault : Fault
{
    public override string Name => "cut-off";

    public override string Description => "one silo is cut off from the others and from Redis; clients reach it";

    public override IReadOnlyList<string> Errors => [.. DeclaredDead, "KvCache.Silo.Cluster.CutOffWatch"];

    public override TimeSpan FailuresUntil => AfterSilence;

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override string? WhyNot(World world) =>
        world.Network.CanCut(0, 1) ? null : "Links between silos are cut in network namespaces only (root and iproute2).";

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(dice.Next(2) == 0 ? 6 : 20);

    public override async Task InjectAsync(World world, Random dice)
    {
        var one = dice.Next(world.Silos.Length);
        await world.Network.CutAsync(one, Node.Redis).ConfigureAwait(false);
        for (var other = 0; other < world.Silos.Length; other++)
        {
            if (other != one)
                await world.Network.CutAsync(one, other).ConfigureAwait(false);
        }
    }

    public override Task CureAsync(World world) => world.Network.HealAsync();
}

/// <summary>One silo does not reach Redis.</summary>
internal sealed class RedisCutFault : Fault
{
    public override string Name => "cut-redis";

    public override string Description => "nothing passes between one silo and Redis, and nobody is told";

    public override TimeSpan FailuresUntil => AfterSilence;

    public override string? WhyNot(World world) =>
        world.Network.CanCut(0, Node.Redis) ? null : "The link to Redis is cut in network namespaces only (root and iproute2).";

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(8);

    public override Task InjectAsync(World world, Random dice) => world.Network.CutAsync(dice.Next(world.Silos.Length), Node.Redis);

    public override Task CureAsync(World world) => world.Network.HealAsync();
}

/// <summary>Connections are reset, again and again.</summary>
internal sealed class ResetFault : Fault
{
    private const int Rounds = 10;

    public override string Name => "reset";

    public override string Description => "all connections of one silo's data plane are reset ten times, 200 ms apart";

    public override TimeSpan FailuresUntil => AfterKill + TimeSpan.FromSeconds(2);

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(1);

    public override async Task InjectAsync(World world, Random dice)
    {
        var silo = dice.Next(world.Silos.Length);
        for (var i = 0; i < Rounds; i++)
        {
            await world.Network.ResetAsync(silo).ConfigureAwait(false);
            await Task.Delay(200).ConfigureAwait(false);
        }
    }
}

/// <summary>A link is slow.</summary>
internal sealed class SlowLinkFault : Fault
{
    private const int BytesPerSecond = 128 << 10;

    public override string Name => "slow";

    public override string Description => $"the data plane of one silo moves {BytesPerSecond >> 10} KiB/s at most";

    public override TimeSpan FailuresUntil => AfterSilence;

    public override Task InjectAsync(World world, Random dice) => world.Network.SlowAsync(dice.Next(world.Silos.Length), BytesPerSecond);

    public override Task CureAsync(World world) => world.Network.HealAsync();
}
