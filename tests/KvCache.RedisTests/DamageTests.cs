using System.Text;
using KvCache.Silo;

namespace KvCache.RedisTests;

public sealed class DamageTests
{
    private const int Bytes = 64 << 10;
    private static readonly KvLayout Layout = TierFixture.LayoutOf(Bytes);
    private static readonly BlockKey Key = TierFixture.Key(1);

    public static TheoryData<int, PromoteOutcome> Places => new()
    {
        { 0, PromoteOutcome.Malformed }, // magic
        { 4, PromoteOutcome.Malformed }, // version
        { 10, PromoteOutcome.Corrupt }, // namespace
        { 30, PromoteOutcome.Corrupt }, // hash
        { 57, PromoteOutcome.Corrupt }, // generation
        { 65, PromoteOutcome.Corrupt }, // expiry
        { 72, PromoteOutcome.Corrupt }, // layers
        { 75, PromoteOutcome.Malformed }, // layers, out of bounds
        { 77, PromoteOutcome.Corrupt }, // block bytes
        { 81, PromoteOutcome.Corrupt }, // parent
        { 112, PromoteOutcome.Corrupt }, // depth
        { 116, PromoteOutcome.Corrupt }, // checksum of a layer
        { 132, PromoteOutcome.Corrupt }, // checksum of the header
        { 136, PromoteOutcome.Corrupt }, // first byte of the block
        { 136 + Bytes - 1, PromoteOutcome.Corrupt }, // last byte of the block
    };

    [Theory]
    [MemberData(nameof(Places))]
    public async Task A_flipped_bit_is_a_miss_and_the_value_is_deleted(int place, PromoteOutcome expected)
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, Layout);
        var value = Read(redis, fixture, Key);
        value[place] ^= 0x10;
        Write(redis, fixture, Key, value);
        await AssertDamagedAsync(redis, fixture, expected);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(115)]
    [InlineData(130)]
    [InlineData(136)]
    [InlineData(136 + Bytes - 1)]
    [InlineData(136 + Bytes + 1)]
    [InlineData(136 + Bytes + 3_000_000)]
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
    public async Task A_value_of_another_layout_is_a_miss_and_deleted()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        await fixture.PersistAsync(Key, TierFixture.LayoutOf(Bytes, layers: 8));
        await AssertDamagedAsync(redis, fixture, PromoteOutcome.OtherLayout);
    }

    [Fact]
    public async Task A_value_whose_life_has_ended_is_a_miss_even_where_redis_still_has_it()
    {
        using var redis = RedisProcess.Start();
        await using var fixture = new TierFixture(redis.Tcp);
        var block = new byte[Bytes];
        var head = new byte[PayloadFormat.HeadBytes(Layout.Layers)];
        var checksums = Enumerable.Repeat(BlockChecksum.Compute(new byte[Bytes / Layout.Layers]), Layout.Layers).ToArray();
        PayloadFormat.Write(head, new PayloadHeader(Key, 7, DateTimeOffset.UtcNow.AddSeconds(-1).ToUnixTimeMilliseconds(), Layout.Layers, Bytes, default, 0), checksums);
        Write(redis, fixture, Key, [.. head, .. block]);
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

    private static byte[] Read(RedisProcess redis, TierFixture fixture, BlockKey key)
    {
        using var connection = redis.Connect();
        var value = new byte[connection.Get(fixture.Name(key), Soon())];
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
