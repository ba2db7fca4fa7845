using System.Net.Sockets;
using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Faults;

/// <summary>Redis dies, and comes back empty.</summary>
internal sealed class RedisKillFault : Fault
{
    public override string Name => "redis-kill";

    public override string Description => "kill -9 of Redis, which comes back empty some seconds later";

    public override Task InjectAsync(World world, Random dice) => world.Redis.KillAsync();

    public override Task CureAsync(World world) => world.Redis.StartAsync();
}

/// <summary>Redis is restarted, empty.</summary>
internal sealed class RedisRestartFault : Fault
{
    public override string Name => "redis-restart";

    public override string Description => "kill -9 of Redis and a start at once; it has lost everything";

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(1);

    public override async Task InjectAsync(World world, Random dice)
    {
        await world.Redis.KillAsync().ConfigureAwait(false);
        await world.Redis.StartAsync().ConfigureAwait(false);
    }
}

/// <summary>Redis forgets everything, and two silos are restarted (R2).</summary>
internal sealed class RedisFlushFault : Fault
{
    public override string Name => "redis-flush";

    public override string Description => "FLUSHALL, and kill -9 of two silos, which are started again";

    public override TimeSpan FailuresUntil => AfterKill;

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(30);

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(1);

    public override async Task InjectAsync(World world, Random dice)
    {
        world.Redis.Call("FLUSHALL");
        await Task.WhenAll(world.Silos[^1].KillAsync(), world.Silos[^2].KillAsync()).ConfigureAwait(false);
    }

    public override Task CureAsync(World world)
    {
        world.Silos[^1].Start();
        world.Silos[^2].Start();
        return Task.CompletedTask;
    }
}

/// <summary>Redis stands still.</summary>
internal sealed class RedisFreezeFault : Fault
{
    public override string Name => "redis-freeze";

    public override string Description => "SIGSTOP of Redis for some seconds";

    public override Task InjectAsync(World world, Random dice)
    {
        world.Redis.Pause();
        return Task.CompletedTask;
    }

    public override Task CureAsync(World world)
    {
        world.Redis.Resume();
        return Task.CompletedTask;
    }
}

/// <summary>Redis has no memory left.</summary>
internal sealed class RedisFullFault : Fault
{
    public override string Name => "redis-full";

    public override string Description => "Redis' maxmemory is below what it has, and it evicts nothing";

    public override Task InjectAsync(World world, Random dice)
    {
        world.Redis.Call("CONFIG", "SET", "maxmemory", "1mb");
        return Task.CompletedTask;
    }

    public override Task CureAsync(World world)
    {
        world.Redis.Call("CONFIG", "SET", "maxmemory", "0");
        return Task.CompletedTask;
    }
}

/// <summary>What lies in Redis is damaged, and a silo dies, so that it has to be read.</summary>
internal sealed class RedisDamageFault : Fault
{
    private int _silo;

    public override string Name => "redis-damage";

    public override string Description =>
        "every payload in Redis gets wrong bytes, another's bytes, or too few; a silo is killed, so that they are read";

    public override TimeSpan FailuresUntil => AfterKill;

    public override TimeSpan RecoveryLimit => TimeSpan.FromSeconds(15);

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(2);

    public override Task InjectAsync(World world, Random dice)
    {
        var damaged = 0;
        using var redis = world.Redis.Connect();
        for (var cursor = "0"; ;)
        {
            var page = (object?[])redis.Call("SCAN", cursor, "MATCH", "kvcache:*", "COUNT", 500)!;
            cursor = System.Text.Encoding.ASCII.GetString((byte[])page[0]!);
            foreach (var key in ((object?[])page[1]!).Cast<byte[]>())
                damaged += Damage(redis, key, dice) ? 1 : 0;
            if (cursor == "0")
                break;
        }

        Note = $"{damaged} payloads damaged";
        return world.Silos[_silo = dice.Next(world.Silos.Length)].KillAsync();
    }

    public override Task CureAsync(World world)
    {
        world.Silos[_silo].Start();
        return Task.CompletedTask;
    }

    private static bool Damage(RespLink redis, byte[] key, Random dice)
    {
        try
        {
            if (redis.Call("STRLEN", key) is not long length || length < 64)
                return false; // the list of members is no string
            var garbage = new byte[1 + dice.Next(8)];
            dice.NextBytes(garbage);
            switch (dice.Next(5))
            {
                case 0:
                    redis.Call("SETRANGE", key, dice.Next((int)length), garbage);
                    break;
                case 1: // in the head
                    redis.Call("SETRANGE", key, dice.Next(64), garbage);
                    break;
                case 2:
                    redis.Call("SET", key, redis.Call("GETRANGE", key, 0, dice.Next((int)length))!, "PX", 600_000);
                    break;
                case 3:
                    redis.Call("APPEND", key, garbage);
                    break;
                default:
                    if (redis.Call("RANDOMKEY") is byte[] other && !other.AsSpan().SequenceEqual(key) && redis.Call("TYPE",
                        other) is byte[] type
                        && type.AsSpan().SequenceEqual("string"u8))
                        redis.Call("COPY", other, key, "REPLACE");
                    break;
            }

            return true;
        }
        catch (RespError)
        {
            return false; // not a string, or gone meanwhile
        }
    }
}

/// <summary>The master dies, and the sentinels make its replica the master (R1).</summary>
internal sealed class RedisFailoverFault : Fault
{
    private ChaosRedis? _dead;

    public override string Name => "redis-failover";

    public override string Description => "kill -9 of the master; sentinels promote its replica; the old one comes back as a replica";

    public override bool NeedsSentinels => true;

    public override string? WhyNot(World world) => world.Sentinels is null ? "There is no redis-sentinel." : null;

    public override TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(2);

    public override async Task InjectAsync(World world, Random dice)
    {
        var old = world.Sentinels!.Master;
        _dead = world.Redis.Address.Equals(old) ? world.Redis : world.Replica!;
        var next = _dead == world.Redis ? world.Replica! : world.Redis;
        await _dead.KillAsync().ConfigureAwait(false);
        var switched = await World.UntilAsync(
            "there is another master", () => Task.FromResult(IsMaster(next)), TimeSpan.FromSeconds(60)).ConfigureAwait(false);

        // The load persists blocks all the time.
        var keys = Payloads(next);
        var written = await World.UntilAsync(
            "a payload was written to the new master", () => Task.FromResult(Payloads(next) > keys), TimeSpan.FromSeconds(60))
            .ConfigureAwait(false);
        Note = $"another master after {switched.TotalSeconds:0.0} s, written to {written.TotalSeconds:0.0} s later";
        if (written > TimeSpan.FromSeconds(10))
            throw new TimeoutException($"Writes reached the new master {written.TotalSeconds:0.0} s after the switch; 10 s were promised.");
    }

    public override Task CureAsync(World world) => _dead!.StartAsync();

    private static bool IsMaster(ChaosRedis redis)
    {
        try
        {
            return redis.Call("ROLE") is object?[] { Length: > 0 } role && role[0] is byte[] name && name.AsSpan().SequenceEqual(
                "master"u8);
        }
        catch (SocketException)
        {
            return false;
        }
    }

    // Deletions and ends of lives go on meanwhile, so that the number of keys says nothing.
    private static long Payloads(ChaosRedis redis)
    {
        var text = System.Text.Encoding.ASCII.GetString((byte[])redis.Call("INFO", "commandstats")!);
        return text.Split('\n').Where(line => line.StartsWith("cmdstat_set:", StringComparison.Ordinal)
            || line.StartsWith("cmdstat_psetex:", StringComparison.Ordinal))
            .Sum(line => long.Parse(line.Split("calls=")[1].Split(',')[0], System.Globalization.CultureInfo.InvariantCulture));
    }
}
