using CsCheck;
using KvCache.Engine.Events;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class KvEventTests
{
    private static readonly BlockHash First = PrefixHasher.HashText("first"), Second = PrefixHasher.HashText("second");

    [Theory]
    [InlineData(nameof(KvEventFormat.Arrays), false)]
    [InlineData(nameof(KvEventFormat.Arrays), true)]
    [InlineData(nameof(KvEventFormat.Maps), false)]
    [InlineData(nameof(KvEventFormat.Maps), true)]
    public void What_is_written_is_read_in_either_form_and_with_either_kind_of_hash(string format, bool integers)
    {
        var writer = new KvEventWriter(Enum.Parse<KvEventFormat>(format), integers);
        writer.Stored(First, default, 256, KvEvent.Memory);
        writer.Stored(Second, First, 256, KvEvent.Redis);
        writer.Removed(First, KvEvent.Memory);
        writer.Cleared();
        Assert.Equal(4, writer.Count);

        var events = KvEventReader.Read(writer.Take(DateTimeOffset.UnixEpoch.AddSeconds(1.5)));

        var stored = Assert.IsType<BlockStoredEvent>(events[0]);
        Assert.Equal([Low(First)], stored.Hashes);
        Assert.Equal((null, 256, KvEvent.Memory), (stored.Parent, stored.TokensPerBlock, stored.Medium));
        stored = Assert.IsType<BlockStoredEvent>(events[1]);
        Assert.Equal((Low(Second), Low(First), KvEvent.Redis), (stored.Hashes[0], stored.Parent, stored.Medium));
        var removed = Assert.IsType<BlockRemovedEvent>(events[2]);
        Assert.Equal((Low(First), KvEvent.Memory), (removed.Hashes[0], removed.Medium));
        Assert.IsType<AllBlocksClearedEvent>(events[3]);
        Assert.Equal(4, events.Count);
        Assert.Equal(0, writer.Count);
    }

    // Bytes of Python's msgpack: [1.5, [["BlockStored", [-1], None, [1, 70000], 2, 3]], 0]
    [Fact]
    public void An_event_of_an_old_engine_has_fewer_members_and_an_adapter_by_number()
    {
        var batch = Convert.FromHexString("93cb3ff80000000000009196ab426c6f636b53746f72656491ffc09201ce00011170020300");

        var stored = Assert.IsType<BlockStoredEvent>(Assert.Single(KvEventReader.Read(batch)));

        Assert.Equal(ulong.MaxValue, Assert.Single(stored.Hashes));
        Assert.Equal([1, 70_000], stored.Tokens);
        Assert.Equal(("3", null), (stored.LoraAdapter, stored.Medium));
    }

    // [1.5, [["UnheardOf", 1], ["AllBlocksCleared"]]]
    [Fact]
    public void An_event_of_an_unknown_type_does_not_cost_the_others() =>
        Assert.IsType<AllBlocksClearedEvent>(Assert.Single(KvEventReader.Read(
            [0x92, 0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0, 0x92, 0x92, 0xA9, .. "UnheardOf"u8, 1, 0x91, 0xB0, .. "AllBlocksCleared"u8])));

    // As many items as a length of four bytes can say, for each list that has memory of its own, and for one that is passed over.
    [Theory]
    [InlineData("92c0dd7fffffff")] // [nil, events
    [InlineData("92c09193ab426c6f636b53746f726564dd7fffffff")] // [nil, [["BlockStored", hashes
    [InlineData("92c09194ab426c6f636b53746f72656490c0dd7fffffff")] // [nil, [["BlockStored", [], nil, tokens
    [InlineData("92c09182a474797065ab426c6f636b53746f726564aa65787472615f6b657973dd7fffffff")] // a map with extra_keys
    [InlineData("92c091df7fffffff")] // [nil, [map
    public void A_list_that_claims_more_items_than_there_are_bytes_costs_no_memory(string batch)
    {
        var bytes = Convert.FromHexString(batch);

        var allocated = Allocations.Of(() => Assert.Contains(
            "2147483647 items", Assert.Throws<KvFormatException>(() => KvEventReader.Read(bytes)).Message, StringComparison.Ordinal));

        Assert.InRange(allocated, 0, 64 << 10);
    }

    [Fact]
    public void A_batch_that_is_none_is_told_from_one() =>
        Gen.Byte.Array[0, 64].Sample(bytes =>
        {
            try
            {
                KvEventReader.Read(bytes);
            }
            catch (KvFormatException)
            {
                // The only answer to what is not understood.
            }
        });

    [Fact]
    public void A_damaged_batch_is_told_from_a_whole_one()
    {
        var writer = new KvEventWriter(KvEventFormat.Maps, integerHashes: false);
        writer.Stored(First, Second, 16, KvEvent.Memory);
        writer.Removed(First, KvEvent.Memory);
        var batch = writer.Take(DateTimeOffset.UnixEpoch);
        Gen.Select(Gen.Int[0, batch.Length - 1], Gen.Byte, Gen.Int[0, batch.Length]).Sample((at, value, length) =>
        {
            var damaged = batch[..length];
            if (at < length)
                damaged[at] = value;
            try
            {
                KvEventReader.Read(damaged);
            }
            catch (KvFormatException)
            {
                // As above.
            }
        });
    }

    private static ulong Low(BlockHash hash) => KvEvent.LowBits(BlockHash.BytesOf(in hash));
}
