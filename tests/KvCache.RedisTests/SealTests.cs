using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using KvCache.Checksums;
using KvCache.Grains.Prefixes;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;
using Orleans;

namespace KvCache.RedisTests;

/// <summary>Payloads and descriptors that somebody else wrote into Redis, or changed there, and keys that change.</summary>
public sealed class SealTests : IDisposable
{
    private const int Bytes = 600_001; // three segments
    private static readonly KvLayout Layout = KvLayout.Opaque([0, 200_000, 400_000, 600_000, Bytes], 256);
    private static readonly BlockKey Key = TierFixture.Key(1);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-seal-");

    private string SealFile => Path.Combine(_folder.FullName, "keys");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Sealed_blocks_come_back_whole(bool encrypt)
    {
        using var redis = RedisProcess.Start();
        WriteKeys(NewKey(1));
        await using var fixture = Sealed(redis, encrypt);
        var generation = await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        using (var result = (await fixture.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken)).Lease!)
        {
            TierFixture.AssertContent(result);
            Assert.Equal(generation, result.Generation);
            Assert.Equal(!encrypt, value.AsSpan().IndexOf(result.Bytes[300_000..300_100]) >= 0);
        }

        // A change of its life is sealed too.
        Assert.True(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddHours(1), TestContext.Current.CancellationToken));
        fixture.Store.Remove(Key);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
    }

    [Fact]
    public async Task Who_can_only_set_lives_in_Redis_makes_none_longer()
    {
        using var redis = RedisProcess.Start();
        WriteKeys(NewKey(1));
        await using var fixture = Sealed(redis);
        var end = DateTimeOffset.UtcNow.AddSeconds(1000);
        await fixture.PersistAsync(Key, Layout, end);
        redis.Command("PEXPIRE", Encoding.ASCII.GetString(fixture.Name(Key)), "5000000");
        var promoted = await fixture.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken);
        using (promoted.Lease)
            TierFixture.AssertLife(end, promoted.Lease);
    }

    // What is sealed is believed as well as Redis: a life ends too early where the writer's clock is behind, never too late.
    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task A_writer_whose_clock_is_wrong_makes_no_life_longer(int hours)
    {
        using var redis = RedisProcess.Start();
        WriteKeys(NewKey(1));
        await using var writing = Sealed(redis, time: new WrongClock(TimeSpan.FromHours(hours)));
        await using var reading = Sealed(redis);
        var end = DateTimeOffset.UtcNow.AddSeconds(1000);
        await writing.PersistAsync(Key, Layout, end);
        var promoted = await reading.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken);
        using var lease = promoted.Lease;
        Assert.Equal(hours > 0 ? PromoteOutcome.Promoted : PromoteOutcome.Expired, promoted.Outcome);
        if (lease is not null)
            TierFixture.AssertLife(end, lease);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_forged_payload_is_a_miss_and_deleted(bool encrypt)
    {
        using var redis = RedisProcess.Start();
        WriteKeys(NewKey(1));
        await using var fixture = Sealed(redis, encrypt);
        await fixture.PersistAsync(Key, Layout);
        var genuine = Read(redis, fixture, Key);
        var head = PayloadFormat.HeadBytes(Layout);
        var forgeries = 0;

        // Whoever writes Redis can compute checksums: of changed layers, of the head, of another end of its life.
        await ForgedAsync(value => value[head + 5] ^= 1);
        await ForgedAsync(value => value[^1] ^= 1); // the last tag
        await ForgedAsync(value => value.AsSpan(head, 100).CopyTo(value.AsSpan(head + 1000)));
        await ForgedAsync(
            value => value.AsSpan(head + PayloadSeal.SegmentBytes + PayloadKey.MacBytes, PayloadSeal.SegmentBytes + PayloadKey.MacBytes)
            .CopyTo(value.AsSpan(head, PayloadSeal.SegmentBytes + PayloadKey.MacBytes))); // a segment in another's place
        await ForgedAsync(value => value[64] ^= 1); // generation
        await ForgedAsync(value => value[PayloadFormat.FixedBytes] ^= 1); // checksum of a layer
        await ForgedAsync(value =>
        {
            BinaryPrimitives.WriteInt64LittleEndian(
                value.AsSpan(PayloadFormat.LifeOffset), DateTimeOffset.UtcNow.AddYears(1).ToUnixTimeMilliseconds());
            BinaryPrimitives.WriteUInt32LittleEndian(
                value.AsSpan(PayloadFormat.LifeOffset + 8), BlockChecksum.Compute(value.AsSpan(PayloadFormat.LifeOffset, 8)));
        });
        Assert.Equal(forgeries, fixture.Counters.PromotesWith(PromoteOutcome.Forged));
        Write(redis, fixture, Key, genuine);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
        Assert.False(fixture.Tier.IsOpen);

        async Task ForgedAsync(Action<byte[]> forge)
        {
            var value = genuine.ToArray();
            forge(value);
            SignHead(value.AsSpan(0, head));
            Write(redis, fixture, Key, value);
            Assert.Equal(PromoteOutcome.Forged, await fixture.PromoteAsync(Key, Layout));
            Assert.False(fixture.Store.Contains(Key));
            Assert.Equal(":0", redis.Command("DBSIZE"));
            forgeries++;
        }
    }

    [Fact]
    public async Task A_payload_without_a_seal_or_under_an_unknown_key_is_a_miss_and_left_to_those_who_know_it()
    {
        using var redis = RedisProcess.Start();
        await using (var plain = new TierFixture(redis.Tcp))
            await plain.PersistAsync(Key, Layout);
        WriteKeys(NewKey(1));
        await using (var strict = Sealed(redis))
        {
            Assert.Equal(PromoteOutcome.OtherKey, await strict.PromoteAsync(Key, Layout));
            await strict.PersistAsync(Key, Layout);
        }

        WriteKeys(NewKey(2));
        await using (var later = Sealed(redis))
            Assert.Equal(PromoteOutcome.OtherKey, await later.PromoteAsync(Key, Layout));
        await using (var plain = new TierFixture(redis.Tcp))
            Assert.Equal(PromoteOutcome.OtherKey, await plain.PromoteAsync(Key, Layout));
        Assert.Equal(":1", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task A_key_is_replaced_under_load_without_a_failed_call()
    {
        using var redis = RedisProcess.Start();
        var (first, second) = (NewKey(1), NewKey(2));
        WriteKeys(first);
        await using var fixture = Sealed(redis, encrypt: true);
        await fixture.PersistAsync(Key, Layout);
        var layout = TierFixture.LayoutOf(64 << 10);
        var stop = new CancellationTokenSource();
        var rounds = 0;
        var load = Task.Run(async () =>
        {
            for (var i = 100; !stop.IsCancellationRequested; i++)
            {
                await fixture.PersistAsync(TierFixture.Key(i), layout);
                Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(i), layout));
                fixture.Store.Remove(TierFixture.Key(i));
                rounds++;
            }
        });
        await MoreAsync();
        WriteKeys(first, second); // readable everywhere first
        await Eventually.TrueAsync("the new key is known", () => fixture.Tier.Keys!.Fresh().Find(2) is not null);
        await MoreAsync();
        WriteKeys(second, first);
        await Eventually.TrueAsync("the new key writes", () => fixture.Tier.Keys!.Fresh().Writing.Id == 2);
        await MoreAsync();
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout)); // of the old key
        fixture.Store.Remove(Key);

        // A file that cannot be used changes nothing, and says why.
        await File.WriteAllTextAsync(SealFile, "2 short", TestContext.Current.CancellationToken);
        Assert.True(fixture.Tier.Keys!.Refresh(out var problem));
        Assert.Contains("is not 'ID KEY'", problem, StringComparison.Ordinal);
        await MoreAsync();
        WriteKeys(second);
        await Eventually.TrueAsync("the old key is gone", () => fixture.Tier.Keys!.Fresh().Find(1) is null);
        await MoreAsync();
        await stop.CancelAsync();
        await load;
        Assert.Equal(PromoteOutcome.OtherKey, await fixture.PromoteAsync(Key, Layout));

        Task MoreAsync()
        {
            var before = Volatile.Read(ref rounds);
            return Eventually.TrueAsync("the load goes on", () => load.IsCompleted || Volatile.Read(ref rounds) > before + 5);
        }
    }

    [Theory]
    [InlineData("", "has no key")]
    [InlineData("# nothing\n", "has no key")]
    [InlineData("1", "is not 'ID KEY'")]
    [InlineData("0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "is not 'ID KEY'")]
    [InlineData("1 AAAA", "is not 'ID KEY'")]
    [InlineData("1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n1 BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "more than once")]
    public void A_file_of_keys_that_cannot_be_used_is_told_in_one_sentence(string content, string expected)
    {
        File.WriteAllText(SealFile, content);
        var error = Assert.Throws<FormatException>(() => PayloadKeys.Load("KvCache:Redis:SealFile", SealFile));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("AAAA", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_descriptor_that_was_forged_or_is_another_blocks_is_an_empty_one()
    {
        using var redis = RedisProcess.Start();
        WriteKeys(NewKey(1));
        await using var silo = await DescriptorSilo.StartAsync(redis.Tcp, ("KvCache:Redis:SealFile", SealFile));
        var other = TierFixture.Key(2);
        await WriteAsync(Key, 7);
        await WriteAsync(other, 8);
        Assert.Equal(7, await ReadAsync(Key));
        using (var connection = redis.Connect())
        {
            // The provider keeps a hash with the field "data".
            Assert.StartsWith(":1", redis.Command("EXISTS", DescriptorSilo.Name(Key)), StringComparison.Ordinal);
        }

        redis.Command("COPY", DescriptorSilo.Name(other), DescriptorSilo.Name(Key), "REPLACE");
        Assert.Equal(0, await ReadAsync(Key));
        Assert.Equal(8, await ReadAsync(other));

        async Task WriteAsync(BlockKey key, long end)
        {
            var state = new GrainState<PrefixDescriptor>
            {
                State =
                new PrefixDescriptor { PinnedUntil = DateTimeOffset.FromUnixTimeMilliseconds(end) }
            };
            await silo.Storage.WriteStateAsync("descriptor", DescriptorSilo.Grain(key), state);
        }

        async Task<long> ReadAsync(BlockKey key)
        {
            var state = new GrainState<PrefixDescriptor>();
            await silo.Storage.ReadStateAsync("descriptor", DescriptorSilo.Grain(key), state);
            return state.State!.IsWorthKeeping ? state.State.PinnedUntil.ToUnixTimeMilliseconds() : 0;
        }
    }

    private TierFixture Sealed(RedisProcess redis, bool encrypt = false, TimeProvider? time = null) => new(redis.Tcp, time: time,
        configure: options =>
    {
        options.SealFile = SealFile;
        options.Encrypt = encrypt;
    });

    private static string NewKey(int id) => $"{id} {Convert.ToBase64String(RandomNumberGenerator.GetBytes(32))}";

    private void WriteKeys(params string[] keys)
    {
        File.WriteAllLines(SealFile + ".new", ["# keys of a test", .. keys]);
        File.Move(SealFile + ".new", SealFile, overwrite: true);
    }

    private static void SignHead(Span<byte> head) => BinaryPrimitives.WriteUInt32LittleEndian(
        head[^sizeof(uint)..],
        BlockChecksum.Append(
            BlockChecksum.Compute(head[..PayloadFormat.LifeOffset]),
            head[(PayloadFormat.LifeOffset + PayloadFormat.LifeBytes)..^sizeof(uint)]));

    private static byte[] Read(RedisProcess redis, TierFixture fixture, BlockKey key)
    {
        using var connection = redis.Connect();
        var value = new byte[connection.Get(fixture.Name(key), out _, Soon())];
        connection.ReadValue(value);
        connection.EndValue();
        return value;
    }

    private static void Write(RedisProcess redis, TierFixture fixture, BlockKey key, byte[] value)
    {
        using var connection = redis.Connect();
        connection.Set(fixture.Name(key), default, value, 0, Soon());
    }

    private static Deadline Soon() => Deadline.After(TimeSpan.FromSeconds(10));
}
