using System.Diagnostics;
using System.Globalization;
using KvCache.Grains.Prefixes;
using KvCache.RedisTests.Infrastructure;
using KvCache.Testing;
using Orleans.Runtime;

namespace KvCache.RedisTests;

public sealed class DescriptorTests
{
    private static readonly BlockKey Key = TierFixture.Key(1);
    private static readonly GrainId Grain = DescriptorSilo.Grain(Key);
    private static readonly string Name = DescriptorSilo.Name(Key);

    [Fact]
    public async Task What_a_grain_knows_survives_its_silo()
    {
        using var redis = RedisProcess.Start();
        var end = DateTimeOffset.FromUnixTimeMilliseconds(DateTimeOffset.UtcNow.AddHours(1).ToUnixTimeMilliseconds());
        await using (var silo = await DescriptorSilo.StartAsync(redis.Tcp))
        {
            Assert.Null(await silo.Descriptors.ReadAsync(Grain));
            Assert.True(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
            Assert.True(await silo.Descriptors.UpdateAsync(Grain, descriptor => descriptor.PinnedUntil = end));
            Assert.Equal(2, silo.Counters.Written);
        }

        await using var next = await DescriptorSilo.StartAsync(redis.Tcp);
        Assert.Equal(end, (await next.Descriptors.ReadAsync(Grain))?.PinnedUntil);
        Assert.Equal(":1", redis.Command("EXISTS", Name));
        await next.Descriptors.ClearAsync(Grain);
        Assert.Equal(":0", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task What_is_not_worth_keeping_is_not_kept()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, _ => { }));
        Assert.Equal(":0", redis.Command("DBSIZE"));
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, descriptor => descriptor.PinnedUntil = DateTimeOffset.UtcNow.AddHours(1)));
        Assert.Equal(":1", redis.Command("DBSIZE"));
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, descriptor => descriptor.PinnedUntil = default));
        Assert.Equal(":0", redis.Command("DBSIZE"));
    }

    [Theory]
    [InlineData(1000)]
    [InlineData(200_000)] // longer than the provider's one life for all
    public async Task A_descriptor_lives_as_long_as_its_payload_and_goes_with_it(int seconds)
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        await silo.PersistAsync(Key, DateTimeOffset.UtcNow.AddSeconds(seconds));
        await silo.PersistAsync(TierFixture.Key(2));
        AssertLives(redis, Key, seconds);
        AssertLives(redis, TierFixture.Key(2), 24 * 60 * 60);

        foreach (var change in new[] { 50, 400_000 })
        {
            Assert.True(await silo.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(change), TestContext.Current.CancellationToken));
            AssertLives(redis, Key, change);
        }

        Assert.True(await silo.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken));
        Assert.Equal(":0", redis.Command("EXISTS", Name));
        Assert.Equal(":2", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task A_change_that_meets_another_one_is_made_on_top_of_it()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        await using var other = await DescriptorSilo.StartAsync(redis.Tcp);
        await silo.PersistAsync(Key);
        var met = false;
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, descriptor =>
        {
            if (!met)
                Assert.True(other.Descriptors.UpdateAsync(Grain, theirs => theirs.PinnedUntil = DescriptorSilo.End.AddDays(1))
                    .GetAwaiter().GetResult());
            met = true;
            descriptor.PinnedUntil = descriptor.PinnedUntil.AddDays(1);
        }));
        Assert.Equal(DescriptorSilo.End.AddDays(2), (await silo.Descriptors.ReadAsync(Grain))!.PinnedUntil);
    }

    [Fact]
    public async Task A_descriptor_whose_life_ends_within_a_change_is_written_anew()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        await silo.PersistAsync(Key);
        var gone = false;
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, descriptor =>
        {
            descriptor.PinnedUntil = descriptor.PinnedUntil == default ? DescriptorSilo.End.AddDays(5) : descriptor.PinnedUntil;
            if (!gone)
                redis.Command("DEL", Name);
            gone = true;
        }));
        Assert.Equal(DescriptorSilo.End.AddDays(5), (await silo.Descriptors.ReadAsync(Grain))!.PinnedUntil);
    }

    [Fact]
    public async Task A_frozen_redis_costs_the_limit_and_the_descriptor_and_then_nothing()
    {
        using var redis = RedisProcess.Start();
        await using var silo =
            await DescriptorSilo.StartAsync(
            redis.Tcp, ("KvCache:Prefixes:StorageTimeout", "00:00:00.300"), ("KvCache:Redis:CommandTimeout", "00:00:00.300"));
        await silo.PersistAsync(Key);
        redis.Freeze();
        try
        {
            var began = Stopwatch.GetTimestamp();
            Assert.False(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
            Assert.Null(await silo.Descriptors.ReadAsync(Grain));
            await silo.Descriptors.ClearAsync(Grain);
            Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.FromMilliseconds(290), TimeSpan.FromSeconds(5));
            Assert.Equal(3, silo.Counters.Lost);

            for (var i = 0; i < 3; i++)
                Assert.Null(await silo.Tier.ExistsAsync(Key));
            await Eventually.TrueAsync("the breaker is open", () => silo.Tier.IsOpen);
            began = Stopwatch.GetTimestamp();
            for (var i = 0; i < 100; i++)
                Assert.False(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
            Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, TimeSpan.FromSeconds(5));
        }
        finally
        {
            redis.Thaw();
        }

        await Eventually.TrueAsync("descriptors are kept again", () => silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
    }

    [Fact]
    public async Task A_silo_starts_without_redis_and_keeps_descriptors_when_it_comes()
    {
        using var redis = RedisProcess.Start();
        redis.Kill();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        Assert.False(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
        redis.Restart();
        await Eventually.TrueAsync("descriptors are kept", () => silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
    }

    [Fact]
    public async Task A_descriptor_that_cannot_be_read_is_unknown_and_is_replaced()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        await silo.PersistAsync(Key);
        Assert.Equal(":0", redis.Command("HSET", Name, "data", "{json}"));
        Assert.Null(await silo.Descriptors.ReadAsync(Grain));
        Assert.True(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
        Assert.NotNull(await silo.Descriptors.ReadAsync(Grain));
    }

    [Fact]
    public async Task A_key_that_holds_something_else_costs_the_descriptor_and_no_exception()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp);
        redis.Command("SET", Name, "x");
        Assert.Null(await silo.Descriptors.ReadAsync(Grain));
        Assert.False(await silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
        Assert.Equal(2, silo.Counters.Lost);
    }

    [Fact]
    public async Task A_user_who_may_do_nothing_but_what_the_guide_says_is_enough()
    {
        string[] commands =
        [
            "set", "psetex", "get", "unlink", "exists", "scan", "dbsize", "ping", "echo", "info", "client", "eval", "evalsha",
                "script|load",
            "getrange", "setrange", "strlen", "pttl", "pexpire", "pexpireat", "expire", "hget", "hgetall", "hmset", "del",
        ];
        using var redis = RedisProcess.Start(["--user", "kv", "on", ">secret", "~kvcache:*", .. commands.Select(command => "+" + command)]);
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp + ",user=kv,password=secret");
        await silo.PersistAsync(Key, DateTimeOffset.UtcNow.AddSeconds(1000));
        AssertLives(redis, Key, 1000);
        Assert.True(await silo.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddSeconds(500), TestContext.Current.CancellationToken));
        AssertLives(redis, Key, 500);
        Assert.NotNull(await silo.Descriptors.ReadAsync(Grain));
        Assert.Equal(1, await silo.Tier.ScanAsync(_ => { }, TestContext.Current.CancellationToken));
        await silo.Descriptors.ClearAsync(Grain);
        Assert.True(await silo.Tier.DeleteAsync([Key], TestContext.Current.CancellationToken));
        Assert.Equal(":0", redis.Command("DBSIZE"));
        Assert.Equal((0, null), (silo.Counters.Lost, silo.Tier.LastError));
    }

    [Fact]
    public async Task Descriptors_are_not_taken_for_payloads()
    {
        using var redis = RedisProcess.Start();
        await using var silo = await DescriptorSilo.StartAsync(redis.Unix);
        await silo.PersistAsync(Key);
        var found = new List<BlockKey>();
        Assert.Equal(1, await silo.Tier.ScanAsync(page => found.AddRange(page.Keys), TestContext.Current.CancellationToken));
        Assert.Equal([Key], found);
    }

    [Fact]
    public async Task Without_a_redis_descriptors_are_kept_in_memory()
    {
        await using var silo = await DescriptorSilo.StartAsync("");
        // The first call may take longer than a descriptor is worth: then it is lost.
        await Eventually.TrueAsync("it is kept", () => silo.Descriptors.UpdateAsync(Grain, DescriptorSilo.Pinned));
        await Eventually.TrueAsync(
            "it is read", async () => (await silo.Descriptors.ReadAsync(Grain))?.PinnedUntil == DescriptorSilo.End);
        await Eventually.TrueAsync("it is gone", async () =>
        {
            await silo.Descriptors.ClearAsync(Grain);
            return await silo.Descriptors.ReadAsync(Grain) is null;
        });
    }

    [Fact]
    public void A_descriptor_that_is_cut_or_changed_is_an_empty_one()
    {
        var serializer = new PrefixDescriptorSerializer();
        var bytes = serializer.Serialize(new PrefixDescriptor { PinnedUntil = DescriptorSilo.End }).ToArray();
        Assert.Equal(DescriptorSilo.End, serializer.Deserialize<PrefixDescriptor>(BinaryData.FromBytes(bytes))!.PinnedUntil);
        for (var i = 0; i < bytes.Length; i++)
        {
            Assert.False(serializer.Deserialize<PrefixDescriptor>(BinaryData.FromBytes(bytes.AsMemory(0, i)))!.IsWorthKeeping);
            bytes[i] ^= 1;
            Assert.False(serializer.Deserialize<PrefixDescriptor>(BinaryData.FromBytes(bytes))!.IsWorthKeeping);
            bytes[i] ^= 1;
        }
    }

    private static void AssertLives(RedisProcess redis, BlockKey key, int seconds)
    {
        foreach (var name in new[] { $"kvcache:{key.ToGrainKey()}", DescriptorSilo.Name(key) })
            Assert.InRange(
                long.Parse(redis.Command("PTTL", name)[1..], CultureInfo.InvariantCulture), (seconds - 40) * 1000L, seconds * 1000L);
    }
}
