using System.Text;
using CsCheck;
using KvCache.InferenceNode;
using TorchSharp;

namespace KvCache.ModelTests;

public sealed class SafetensorsTests : IDisposable
{
    private static readonly byte[] Floats = [.. new[] { 1.5f, -2f, 0.25f, 4f, 8f, -0.5f }.SelectMany(BitConverter.GetBytes)];

    private static readonly SafetensorsBuilder Sample = new SafetensorsBuilder()
        .Add("f32", "F32", [2, 3], Floats)
        .Add("f16", "F16", [2], [.. BitConverter.GetBytes((Half)1.5f), .. BitConverter.GetBytes((Half)(-2))])
        .Add("bf16", "BF16", [2], [0xc0, 0x3f, 0x00, 0xc0])
        .Add("ids", "I64", [1], new byte[8])
        .Add("scalar", "F32", [], BitConverter.GetBytes(7f))
        .Add("empty", "F32", [0, 4], []);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-safetensors-");

    public void Dispose() => _folder.Delete(recursive: true);

    private SafetensorsFile Open(byte[] content)
    {
        var path = Path.Combine(_folder.FullName, "x.safetensors");
        File.WriteAllBytes(path, content);
        return SafetensorsFile.Open(path);
    }

    [Fact]
    public void Tensors_of_every_floating_type_are_read_and_converted()
    {
        using var file = Open(Sample.Build());
        using var f32 = file.Read("f32", [2, 3], torch.ScalarType.Float32, torch.CPU);
        using var f16 = file.Read("f16", [2], torch.ScalarType.Float32, torch.CPU);
        using var bf16 = file.Read("bf16", [2], torch.ScalarType.Float32, torch.CPU);
        using var narrow = file.Read("f32", [2, 3], torch.ScalarType.BFloat16, torch.CPU);

        Assert.Equal([1.5f, -2f, 0.25f, 4f, 8f, -0.5f], f32.data<float>().ToArray());
        Assert.Equal([1.5f, -2f], f16.data<float>().ToArray());
        Assert.Equal([1.5f, -2f], bf16.data<float>().ToArray());
        Assert.Equal(torch.ScalarType.BFloat16, narrow.dtype);
    }

    [Fact]
    public void A_tensor_of_another_shape_or_type_or_name_is_refused()
    {
        using var file = Open(Sample.Build());

        Assert.Throws<ModelFormatException>(() => file.Read("f32", [3, 2], torch.ScalarType.Float32, torch.CPU));
        Assert.Throws<ModelFormatException>(() => file.Read("ids", [1], torch.ScalarType.Float32, torch.CPU));
        Assert.Throws<ModelFormatException>(() => file.Read("none", [1], torch.ScalarType.Float32, torch.CPU));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"t\":1}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}")]
    [InlineData("{\"t\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807,9223372036854775807],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}")]
    [InlineData("{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}")]
    [InlineData("{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}")]
    public void A_header_that_does_not_describe_four_bytes_of_data_is_refused(string json) =>
        Assert.Throws<ModelFormatException>(() => SafetensorsHeader.Parse(Encoding.UTF8.GetBytes(json), 4));

    [Fact]
    public void A_mutated_header_parses_or_is_refused_and_what_parses_lies_inside_the_data()
    {
        var original = Sample.Header();
        var dataLength = Sample.Build().Length - 8 - original.Length;
        var syntax = "{}[]\":,0123456789-eE.\\u"u8.ToArray();
        var mutation =
            Gen.Select(Gen.Int[0, original.Length - 1], Gen.OneOf(Gen.Byte, Gen.Int[0, syntax.Length - 1].Select(i => syntax[i])));
        Gen.Select(mutation.Array[1, 4], Gen.Int[0, original.Length]).Sample((changes, length) =>
        {
            var header = original.ToArray();
            foreach (var (at, value) in changes)
                header[at] = value;
            try
            {
                foreach (var entry in SafetensorsHeader.Parse(
                    header.AsMemory(0, length % 4 == 0 ? length : header.Length), dataLength).Values)
                    Assert.True(entry.Begin >= 0 && entry.Begin <= entry.End && entry.End <= dataLength);
            }
            catch (ModelFormatException)
            {
                // the documented answer
            }
        }, iter: 20_000);
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused()
    {
        var whole = Sample.Build();
        for (var length = 0; length < whole.Length; length++)
            Assert.Throws<ModelFormatException>(() => Open(whole[..length]));
    }

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(1UL << 63)]
    [InlineData(100_000_001UL)]
    [InlineData(9UL)]
    public void A_header_length_that_is_wrong_is_refused(ulong length) =>
        Assert.Throws<ModelFormatException>(() => Open([.. BitConverter.GetBytes(length), .. Sample.Build()[8..]]));
}
