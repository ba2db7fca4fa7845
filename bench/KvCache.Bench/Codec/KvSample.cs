using System.Runtime.InteropServices;

namespace KvCache.Bench.Codec;

/// <summary>KV to compress: equal blocks of one layout.</summary>
/// <param name="Name">Where it is from, for the names of rows.</param>
/// <param name="Layout">Layout of a block.</param>
/// <param name="Blocks">The blocks, different from each other.</param>
internal sealed record KvSample(string Name, KvLayout Layout, IReadOnlyList<byte[]> Blocks)
{
    private const int SyntheticBlocks = 4;

    /// <summary>Short name of the element type.</summary>
    public string TypeName => Layout.DataType == KvDataType.BFloat16 ? "bf16" : "fp16";

    /// <summary>Independent normal numbers, which no model computed: for machines without models.</summary>
    public static KvSample Synthetic(KvDataType type)
    {
        var layout = KvLayout.Create(layers: 4, kvHeads: 4, headDim: 64, type, tokensPerBlock: 128);
        var random = new Random(1);
        return new KvSample(
            "synthetic", layout, [.. Enumerable.Range(0, SyntheticBlocks).Select(_ => Round(Normal(layout.BlockBytes / 2, random), type))]);
    }

    /// <summary>Float32 elements as the bytes of a 16-bit type.</summary>
    public static byte[] Round(ReadOnlySpan<float> singles, KvDataType type)
    {
        var bytes = new byte[2 * singles.Length];
        if (type == KvDataType.BFloat16)
            ElementConversion.SingleToBFloat16(singles, MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan()));
        else
            ElementConversion.SingleToFloat16(singles, MemoryMarshal.Cast<byte, Half>(bytes.AsSpan()));
        return bytes;
    }

    private static float[] Normal(int count, Random random)
    {
        var singles = new float[count];
        foreach (ref var single in singles.AsSpan())
            single = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble()));
        return singles;
    }
}
