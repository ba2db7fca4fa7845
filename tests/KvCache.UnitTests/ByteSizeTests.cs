using System.ComponentModel;
using CsCheck;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("4 gib", 4L << 30)]
    [InlineData(" 1.5TiB ", 3L << 39)]
    [InlineData("1.5KB", 1500)]
    [InlineData("7B", 7)]
    [InlineData("0", 0)]
    [InlineData("9223372036854775807", long.MaxValue)]
    public void A_number_with_a_unit_is_a_size(string text, long bytes) => Assert.Equal(bytes, ByteSize.Parse(text).Bytes);

    [Theory]
    [InlineData("")]
    [InlineData("GiB")]
    [InlineData("-1")]
    [InlineData("1e3")]
    [InlineData("1,5KB")]
    [InlineData("4 GiB x")]
    [InlineData("9223372036854775808")]
    [InlineData("8388608TiB")]
    [InlineData("79228162514264337593543950335TiB")]
    public void Anything_else_is_an_error_with_an_example(string text)
    {
        var error = Assert.Throws<FormatException>(() => ByteSize.Parse(text));
        Assert.Contains($"'{text}'", error.Message, StringComparison.Ordinal);
        Assert.Contains("4GiB", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_size_is_read_back_from_its_text_to_half_a_percent() =>
        Gen.Long[0, 1L << 55]
            .Sample(bytes => Assert.InRange(ByteSize.Parse(new ByteSize(bytes).ToString()).Bytes, bytes * 0.995, bytes * 1.005));

    [Fact]
    public void Whole_units_are_written_whole()
    {
        Assert.Equal("512MiB", ByteSize.MiB(512).ToString());
        Assert.Equal("1.5GiB", ByteSize.MiB(1536).ToString());
        Assert.Equal("1023B", new ByteSize(1023).ToString());
    }

    [Fact]
    public void The_configuration_binder_converts_it() =>
        Assert.Equal(ByteSize.MiB(3), TypeDescriptor.GetConverter(typeof(ByteSize)).ConvertFromInvariantString("3MiB"));
}
