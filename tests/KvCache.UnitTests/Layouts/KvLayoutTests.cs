using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class KvLayoutTests
{
    private static readonly Gen<KvLayout> Structured =
        Gen.Select(Gen.Int[1, 4], Gen.Int[1, 3], Gen.Int[1, 3], Gen.Enum<KvDataType>(), Gen.Int[1, 3], Gen.Int[1, 2])
            .Select((layers, heads, dim, type, tokens, parts) => KvLayout.Create(layers, heads, dim, type, tokens, parts));

    private static readonly Gen<KvLayout> Opaque =
        Gen.Select(Gen.Int[1, 9].Array[1, 5], Gen.Int[1, 3]).Select((layers, tokens) => KvLayout.Opaque(Ends(layers), tokens));

    public static Gen<KvLayout> Any { get; } = Gen.OneOf(Structured, Opaque);

    [Fact]
    public void Layers_follow_each_other_without_a_gap() =>
        Any.Sample(layout =>
        {
            Assert.Equal(0, layout.LayerOffset(0));
            for (var layer = 0; layer < layout.Layers; layer++)
            {
                Assert.True(layout.LayerBytes(layer) > 0);
                Assert.Equal(layout.LayerOffset(layer) + layout.LayerBytes(layer), layout.LayerOffset(layer + 1));
            }

            Assert.Equal(layout.BlockBytes, layout.LayerOffset(layout.Layers));
            Assert.Equal(layout.BlockBytes, layout.RangeBytes(layout.AllLayers));
        });

    [Fact]
    public void A_block_has_room_for_every_element() =>
        Structured.Sample(
            layout => Assert.Equal(
            layout.Layers * layout.Parts * layout.TokensPerBlock * layout.KvHeads * layout.HeadDim * layout.DataType.Size(),
            layout.BlockBytes));

    [Fact]
    public void A_run_of_layers_lies_inside_when_each_of_its_layers_does() =>
        Gen.Select(Any, Gen.OneOf(Gen.Int[-2, 6], Gen.Int), Gen.OneOf(Gen.Int[-2, 6], Gen.Int)).Sample((layout, first, count) =>
        {
            var range = new LayerRange(first, count);
            Assert.Equal(count > 0 && first >= 0 && (long)first + count <= layout.Layers, layout.Contains(range));
        });

    [Fact]
    public void A_run_of_layers_has_the_bytes_of_its_layers() =>
        Any.Sample(layout =>
        {
            for (var first = 0; first < layout.Layers; first++)
            {
                for (var count = 1; first + count <= layout.Layers; count++)
                    Assert.Equal(
                        Enumerable.Range(first, count).Sum(layout.LayerBytes), layout.RangeBytes(new LayerRange(first, count)));
            }
        });

    [Fact]
    public void Two_layouts_are_equal_exactly_when_they_are_written_alike() =>
        Gen.Select(Any, Any).Sample((a, b) =>
        {
            Assert.Equal(Write(a) == Write(b), a.Equals(b));
            Assert.True(!a.Equals(b) || a.GetHashCode() == b.GetHashCode());
        });

    [Fact]
    public void A_block_over_the_largest_size_is_an_error_that_says_what_to_do()
    {
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => KvLayout.Create(4096, 1 << 16, 1 << 16, KvDataType.Float32, 1 << 20));
        Assert.Contains("Use fewer tokens per block", error.Message, StringComparison.Ordinal);
        Assert.Equal(KvLayout.MaxBlockBytes, KvLayout.Create(4096, 1, 1024, KvDataType.UInt8, 256, parts: 1).BlockBytes);
    }

    [Theory]
    [InlineData(0, 1, 1, 1, 1)]
    [InlineData(4097, 1, 1, 1, 1)]
    [InlineData(1, 0, 1, 1, 1)]
    [InlineData(1, 1, 0, 1, 1)]
    [InlineData(1, 1, 1, 0, 1)]
    [InlineData(1, 1, 1, 1, 0)]
    [InlineData(1, 1, 1, 1, 3)]
    public void Dimensions_out_of_range_are_errors(int layers, int heads, int dim, int tokens, int parts) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => KvLayout.Create(layers, heads, dim, KvDataType.Float16, tokens, parts));

    [Fact]
    public void An_unknown_element_type_is_an_error() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => KvLayout.Create(1, 1, 1, (KvDataType)7, 1));

    [Theory]
    [InlineData(new int[0])]
    [InlineData(new[] { 0 })]
    [InlineData(new[] { 1, 2 })]
    [InlineData(new[] { 0, 0 })]
    [InlineData(new[] { 0, 5, 4 })]
    [InlineData(new[] { 0, -1 })]
    [InlineData(new[] { 0, int.MaxValue })]
    public void Offsets_that_do_not_ascend_from_zero_are_errors(int[] offsets) =>
        Assert.ThrowsAny<ArgumentException>(() => KvLayout.Opaque(offsets, 1));

    [Fact]
    public void A_layer_outside_of_the_block_is_an_error()
    {
        var layout = KvLayout.Opaque(8, 1);
        Assert.Throws<ArgumentOutOfRangeException>(() => layout.LayerOffset(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => layout.LayerOffset(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => layout.LayerBytes(1));
    }

    private static int[] Ends(int[] layers) => [0, .. layers.Select((_, layer) => layers.Take(layer + 1).Sum())];

    private static string Write(KvLayout layout) =>
        $"{layout.IsOpaque} {layout.Parts} {layout.TokensPerBlock} {layout.KvHeads} {layout.HeadDim} {layout.DataType} "
            + $"{string.Join(' ', Enumerable.Range(0, layout.Layers + 1).Select(layout.LayerOffset))}";
}
