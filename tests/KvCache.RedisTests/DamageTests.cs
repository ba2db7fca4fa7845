using System.Buffers.Binary;
using System.Text;
using KvCache.Binary;
using KvCache.Checksums;
using KvCache.Engine.Wire;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

public sealed class DamageTests
{
    private const int Bytes = 64 << 10;
    private static readonly KvLayout Layout = TierFixture.LayoutOf(Bytes);
    private static readonly BlockKey Key = TierFixture.Key(1);

    private static readonly int HeadBytes = PayloadFormat.HeadBytes(Layout);

    public static TheoryData<int, string> Places => new()
    {
        { 0, nameof(PromoteOutcome.Malformed) }, // magic
        { 8, nameof(PromoteOutcome.Corrupt) }, // layers
        { 11, nameof(PromoteOutcome.Malformed) }, // layers, out of bounds
        { 12, nameof(PromoteOutcome.Corrupt) }, // length of the layout
        { 14, nameof(PromoteOutcome.Malformed) }, // length of the layout, out of bounds
        { 20, nameof(PromoteOutcome.Corrupt) }, // namespace
        { 40, nameof(PromoteOutcome.Corrupt) }, // hash
        { 65, nameof(PromoteOutcome.Corrupt) }, // generation
        { 75, nameof(PromoteOutcome.Corrupt) }, // parent
        { 104, nameof(PromoteOutcome.Corrupt) }, // depth
        { 109, nameof(PromoteOutcome.Corrupt) }, // suffix
        { 112, nameof(PromoteOutcome.Corrupt) }, // request
        { 120, nameof(PromoteOutcome.Corrupt) }, // copies
        { 125, nameof(PromoteOutcome.Corrupt) }, // expiry
        { 133, nameof(PromoteOutcome.Corrupt) }, // checksum of the expiry
        { PayloadFormat.FieldBytesOffset, nameof(PromoteOutcome.Corrupt) }, // length of the tagged fields
        { PayloadFormat.FieldBytesOffset + 2, nameof(PromoteOutcome.Malformed) }, // length of the tagged fields, out of bounds
        { PayloadFormat.FixedBytes, nameof(PromoteOutcome.Corrupt) }, // checksum of a layer
        { HeadBytes - 26, nameof(PromoteOutcome.Corrupt) }, // layout
        { HeadBytes - 10, nameof(PromoteOutcome.Corrupt) }, // its MAC
        { HeadBytes - 1, nameof(PromoteOutcome.Corrupt) }, // checksum of the head
        { HeadBytes, nameof(PromoteOutcome.Corrupt) }, // first byte of the block
        { HeadBytes + Bytes - 1, nameof(PromoteOutcome.Corrupt) }, // last byte of the block
    };

    public static TheoryData<int> Lengths =>
        [0, 1, PayloadFormat.FixedBytes - 1, PayloadFormat.FixedBytes, HeadBytes - 1, HeadBytes, HeadBytes + Bytes - 1,
        HeadBytes + Bytes + 1, HeadBytes + Bytes + 3_000_000];

    [Theory]
    [MemberData(nameof(Places))]
    public async Task A_flipped_bit_is_a_miss_and_the_value_is_deleted(int place, string expected)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        value[place] ^= 0x10;
        Write(redis, fixture, Key, value);
        await AssertDamagedAsync(redis, fixture, Enum.Parse<PromoteOutcome>(expected));
    }

    [Theory]
    [MemberData(nameof(Lengths))]
    public async Task A_value_of_the_wrong_length_is_a_miss_and_deleted(int length)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        Array.Resize(ref value, length);
        Write(redis, fixture, Key, value);
        await AssertDamagedAsync(redis, fixture, PromoteOutcome.Truncated);
    }

    [Fact]
    public async Task A_value_under_the_key_of_another_block_is_a_miss_and_deleted()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(TierFixture.Key(2), Layout);
        Write(redis, fixture, Key, Read(redis, fixture, TierFixture.Key(2)));
        await AssertDamagedAsync(redis, fixture, PromoteOutcome.Foreign);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(TierFixture.Key(2), Layout));
    }

    [Fact]
    public async Task Two_values_that_changed_places_are_misses_and_deleted()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        BlockKey[] keys = [TierFixture.Key(1), TierFixture.Key(2)];
        foreach (var key in keys)
            await fixture.PersistAsync(key, Layout);
        var (first, second) = (Read(redis, fixture, keys[0]), Read(redis, fixture, keys[1]));
        Write(redis, fixture, keys[0], second);
        Write(redis, fixture, keys[1], first);
        foreach (var key in keys)
            Assert.Equal(PromoteOutcome.Foreign, await fixture.PromoteAsync(key, null));
        Assert.Equal(":0", redis.Command("DBSIZE"));
    }

    [Fact]
    public async Task A_value_of_another_layout_is_a_miss_and_deleted()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, TierFixture.LayoutOf(Bytes, layers: 8));
        await AssertDamagedAsync(redis, fixture, PromoteOutcome.OtherLayout);

        // Of the same size and the same number of layers.
        fixture.Store.Remove(Key);
        await fixture.PersistAsync(Key, KvLayout.Opaque([0, 1, 2, 3, Bytes], 256));
        Assert.Equal(PromoteOutcome.OtherLayout, await fixture.PromoteAsync(Key, Layout));
    }

    [Fact]
    public async Task A_block_in_memory_that_has_another_layout_is_not_handed_out()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        fixture.Put(Key, Layout).Dispose();
        Assert.Equal(PromoteOutcome.OtherLayout, await fixture.PromoteAsync(Key, TierFixture.LayoutOf(Bytes, layers: 8)));
        Assert.Equal(PromoteOutcome.AlreadyStored, await fixture.PromoteAsync(Key, Layout));
        Assert.Equal(0, fixture.Store.GetStatistics().LeasedBlocks);
    }

    [Fact]
    public async Task A_value_of_a_version_to_come_is_a_miss_and_left_to_those_who_understand_it()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        value[4]++;
        Write(redis, fixture, Key, value);
        Assert.Equal(PromoteOutcome.OtherVersion, await fixture.PromoteAsync(Key, Layout));
        Assert.Equal(1, fixture.Counters.PromotesWith(PromoteOutcome.OtherVersion));
        Assert.False(await fixture.Tier.ExpireAsync(Key, DateTimeOffset.UtcNow.AddHours(1), TestContext.Current.CancellationToken));
        Assert.Equal(value, Read(redis, fixture, Key));
    }

    [Fact]
    public async Task What_a_later_version_says_more_is_passed_over_and_its_life_can_be_changed()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        Write(redis, fixture, Key, OfLaterVersion(Read(redis, fixture, Key), tag: 77));
        var end = DateTimeOffset.UtcNow.AddHours(1);
        Assert.True(await fixture.Tier.ExpireAsync(Key, end, TestContext.Current.CancellationToken));
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
        using var lease = fixture.Store.TryLease(Key);
        TierFixture.AssertLife(end, lease);
    }

    [Fact]
    public async Task What_a_later_version_says_and_must_be_understood_is_a_miss_and_left_alone()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = OfLaterVersion(Read(redis, fixture, Key), WireFields.MustBeKnown + 1);
        Write(redis, fixture, Key, value);
        Assert.Equal(PromoteOutcome.OtherVersion, await fixture.PromoteAsync(Key, Layout));
        Assert.Equal(value, Read(redis, fixture, Key));
    }

    // The same block as a later version would write it, which says something more.
    private static byte[] OfLaterVersion(byte[] value, ushort tag)
    {
        const int TailBytes = 16 + sizeof(uint);
        var fields = new WireWriter();
        fields.Take(FrameHeader.Size);
        WireFields.Add(fields, tag, "more than this version knows"u8);
        WireFields.End(fields);
        var more = fields.Written[FrameHeader.Size..].ToArray();
        byte[] later = [.. value[..(HeadBytes - TailBytes)], .. more, .. value[(HeadBytes - TailBytes)..]];
        BinaryPrimitives.WriteUInt16LittleEndian(later.AsSpan(6), 9); // the version that wrote it
        BinaryPrimitives.WriteInt32LittleEndian(later.AsSpan(PayloadFormat.FieldBytesOffset), more.Length);
        Sign(later.AsSpan(0, HeadBytes + more.Length));
        return later;
    }

    [Theory]
    [InlineData(8, 3)] // another number of layers than the layout has
    [InlineData(104, -1)] // depth
    [InlineData(108, -1)] // suffix
    [InlineData(120, 256)] // copies
    [InlineData(PayloadFormat.FixedBytes + (4 * sizeof(uint)), 9)] // kind of layout
    public async Task A_head_whose_checksum_is_right_and_whose_fields_make_no_sense_is_a_miss_and_deleted(int place, int wrong)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(place), wrong);
        Sign(value.AsSpan(0, HeadBytes - (place == 8 ? sizeof(uint) : 0)));
        Write(redis, fixture, Key, value);
        await AssertDamagedAsync(redis, fixture, PromoteOutcome.Malformed);
    }

    [Fact]
    public async Task A_value_whose_life_has_ended_is_a_miss_even_where_redis_still_has_it()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        PayloadFormat.WriteLife(
            value.AsSpan(PayloadFormat.LifeOffset, PayloadFormat.LifeBytes), Key,
            DateTimeOffset.UtcNow.AddSeconds(-1).ToUnixTimeMilliseconds(), key: null);
        Write(redis, fixture, Key, value);
        Assert.Equal(PromoteOutcome.Expired, await fixture.PromoteAsync(Key, Layout));
        Assert.False(fixture.Store.Contains(Key));
    }

    [Fact]
    public async Task A_key_that_holds_no_string_is_a_miss()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        redis.Command("LPUSH", Encoding.ASCII.GetString(fixture.Name(Key)), "x");
        Assert.Equal(PromoteOutcome.Unavailable, await fixture.PromoteAsync(Key, Layout));
        Assert.Contains("WRONGTYPE", fixture.Tier.LastError, StringComparison.Ordinal);
    }

    private static async Task AssertDamagedAsync(RedisProcess redis, TierFixture fixture, PromoteOutcome expected)
    {
        Assert.Equal(expected, await fixture.PromoteAsync(Key, Layout));
        Assert.Equal(1, fixture.Counters.PromotesWith(expected));
        Assert.False(fixture.Store.Contains(Key));
        Assert.Equal(0, fixture.Store.GetStatistics().Writing);
        using var connection = redis.Connect();
        Assert.False(connection.Exists(fixture.Name(Key), Soon()));

        // The connection is in step, and the breaker has nothing to complain about.
        await fixture.PersistAsync(Key, Layout);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
        Assert.False(fixture.Tier.IsOpen);
    }

    private static void Sign(Span<byte> head) => BinaryPrimitives.WriteUInt32LittleEndian(
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
