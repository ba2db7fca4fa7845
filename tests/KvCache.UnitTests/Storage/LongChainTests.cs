using KvCache.Engine.Storage;
using KvCache.Eviction;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What cannot be reached from its first token is worth nothing.</summary>
public sealed class LongChainTests
{
    private const int Blocks = 64;

    public static TheoryData<string> Policies => [.. EvictionPolicies.Names];

    public static TheoryData<string, int> PoliciesAndLengths
    {
        get
        {
            var data = new TheoryData<string, int>();
            foreach (var policy in EvictionPolicies.Names)
            {
                data.Add(policy, 100);
                data.Add(policy, 200);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(PoliciesAndLengths))]
    public void A_chain_that_is_longer_than_the_arena_keeps_its_head_and_the_rest_is_told_that_there_is_no_room(string policy, int length)
    {
        using var fixture = New(policy);
        var outcomes = Enumerable.Range(0, length).Select(block => Store(fixture, "a", block)).ToList();
        Assert.Equal(Blocks, Match(fixture, "a", length));
        Assert.All(outcomes[..Blocks], outcome => Assert.Equal(BeginOutcome.Accepted, outcome));
        Assert.All(outcomes[(Blocks + 1)..], outcome => Assert.Equal(BeginOutcome.NoRoomInPrefix, outcome));
        Assert.Contains(outcomes[Blocks], (BeginOutcome[])[BeginOutcome.NoMemory, BeginOutcome.NoRoomInPrefix]);
        Assert.Equal(length - Blocks, fixture.Store.GetStatistics().Refused);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Of_two_chains_in_turns_both_keep_a_head(string policy)
    {
        using var fixture = New(policy);
        for (var turn = 0; turn < 6; turn++)
        {
            var name = turn % 2 == 0 ? "a" : "b";
            for (var block = 0; block < 45; block++)
                Store(fixture, name, block);
            AssertBoth(fixture);
        }
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Of_two_chains_at_a_time_both_keep_a_head(string policy)
    {
        using var fixture = New(policy);
        for (var turn = 0; turn < 3; turn++)
        {
            for (var block = 0; block < 45; block++)
            {
                Store(fixture, "a", block);
                Store(fixture, "b", block);
            }

            AssertBoth(fixture);
        }
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void What_comes_before_a_running_write_stays_whoever_needs_memory(string policy)
    {
        using var fixture = New(policy);
        for (var block = 0; block < 10; block++)
            Store(fixture, "a", block);
        using var write = fixture.Store.TryReserve(Key("a", 10), StoreFixture.Layout(1), Lineage("a", 10));
        Assert.NotNull(write);
        for (var other = 0; other < 200; other++)
            Store(fixture, $"other {other}", 0);
        Assert.Equal(10, Match(fixture, "a", 10));
        Assert.True(fixture.Store.GetStatistics().Evicted > 0);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void What_comes_before_a_block_that_is_read_stays(string policy)
    {
        using var fixture = New(policy);
        for (var block = 0; block < 10; block++)
            Store(fixture, "a", block);
        using var lease = fixture.Store.TryLease(Key("a", 9));
        for (var other = 0; other < 200; other++)
            Store(fixture, $"other {other}", 0);
        Assert.Equal(10, Match(fixture, "a", 10));
        lease!.Dispose();
        Assert.Equal(Blocks, fixture.Store.Clear());
    }

    [Fact]
    public void A_block_whose_prefix_is_somewhere_else_gets_room()
    {
        var elsewhere = new Elsewhere(Key("a", 4));
        using var store = new BlockStore(Support.Memory.Arena(2), observer: elsewhere);
        using var first = store.TryReserve(Key("b", 0), StoreFixture.Layout(1), default);
        store.Publish(first!.Key, first.Generation);
        using var second = store.TryReserve(Key("c", 0), StoreFixture.Layout(1), default);
        store.Publish(second!.Key, second.Generation);
        Assert.Null(store.TryReserve(Key("a", 9), StoreFixture.Layout(1), Lineage("a", 9), request: 0, out var refusal));
        Assert.Equal(NoRoom.Prefix, refusal);
        Assert.NotNull(store.TryReserve(Key("a", 5), StoreFixture.Layout(1), Lineage("a", 5), request: 0, out _));
    }

    [Fact]
    public void A_block_that_comes_back_where_others_are_behind_it_is_before_them_again()
    {
        using var fixture = New("lru/t");
        for (var block = 0; block < 3; block++)
            Store(fixture, "a", block);
        Assert.True(fixture.Store.Remove(Key("a", 1)));
        Assert.Equal(BeginOutcome.Accepted, Store(fixture, "a", 1));
        using var lease = fixture.Store.TryLease(Key("a", 2));
        for (var other = 0; other < 200; other++)
            Store(fixture, $"other {other}", 0);
        Assert.Equal(3, Match(fixture, "a", 3));
    }

    [Fact]
    public void Blocks_that_say_of_each_other_that_they_come_before_are_stored_all_the_same()
    {
        using var fixture = New("default");
        BlockKey one = Key("a", 0), other = Key("a", 1);
        foreach (var (key, parent) in (ReadOnlySpan<(BlockKey, BlockKey)>)[(one, other), (other, one), (one, one)])
        {
            using var write = fixture.Store.TryReserve(key, StoreFixture.Layout(1), new BlockLineage(parent.Hash, 0, 0, 0));
            fixture.Store.Publish(key, write!.Generation);
        }

        fixture.Store.TryLease(one)!.Dispose();
        Assert.Equal(2, fixture.Store.Clear());
        Assert.Equal(0, fixture.Store.KnownKeys);
    }

    private static StoreFixture New(string policy) => new(Blocks, new BlockStoreOptions { Eviction = policy });

    private static BlockKey Key(string chain, int block) => StoreFixture.Key(HashCode(chain, block));

    private static int HashCode(string chain, int block) => (chain.Aggregate(17, (hash, letter) => (hash * 31) + letter) * 1000) + block;

    private static BlockLineage Lineage(string chain, int block) =>
        new(block == 0 ? default : Key(chain, block - 1).Hash, block, 0, 0);

    private static int Match(StoreFixture fixture, string chain, int length) =>
        fixture.Store.Match(Key(chain, 0).Namespace, [.. Enumerable.Range(0, length).Select(block => Key(chain, block).Hash)]);

    private static BeginOutcome Store(StoreFixture fixture, string chain, int block)
    {
        fixture.Time.Advance(TimeSpan.FromMilliseconds(20));
        var key = Key(chain, block);
        var outcome = fixture.Store.TryBegin(key, StoreFixture.Layout(1), Lineage(chain, block), replace: false, out var write);
        using (write)
        {
            if (write is not null)
                Assert.Equal(PublishOutcome.Published, fixture.Store.Publish(key, write.Generation));
        }

        return outcome;
    }

    private static void AssertBoth(StoreFixture fixture)
    {
        var (one, other) = (Match(fixture, "a", 45), Match(fixture, "b", 45));
        if (other == 0)
            return; // the first turn
        Assert.True(one + other >= 58 && Math.Min(one, other) >= 15, $"The chains have {one} and {other} blocks.");
    }

    private sealed class Elsewhere(BlockKey there) : IBlockObserver
    {
        public bool MayPublish(BlockKey key, ulong generation) => true;

        public bool IsElsewhere(BlockKey key) => key == there;

        public void Published(BlockKey key, ulong generation, bool replaces)
        {
        }

        public void Removed(BlockKey key, ulong generation)
        {
        }

        public void Settled(BlockKey key)
        {
        }
    }
}
