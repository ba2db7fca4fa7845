using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;

namespace KvCache.MicroBench;

/// <summary>Compression of a layer of 1 MiB without loss; the numbers are normal, no model's. bench/KvCache.Bench codec measures on KV of
/// models.</summary>
[MemoryDiagnoser]
public class CodecBenchmarks
{
    private const int Elements = 1 << 19;

    private readonly TensorShape _shape = new(2, 256, 8, 128);
    private readonly byte[] _tensor = new byte[2 * Elements];
    private readonly byte[] _decoded = new byte[2 * Elements];
    private byte[] _encoded = [];
    private int _length;

    [Params(KvDataType.BFloat16, KvDataType.Float16)]
    public KvDataType Type { get; set; }

    [Params(TensorCompression.FloatPlanes, TensorCompression.Zstd)]
    public TensorCompression Compression { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        var singles = new float[Elements];
        foreach (ref var single in singles.AsSpan())
            single = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble()));
        if (Type == KvDataType.BFloat16)
            ElementConversion.SingleToBFloat16(singles, MemoryMarshal.Cast<byte, ushort>(_tensor.AsSpan()));
        else
            ElementConversion.SingleToFloat16(singles, MemoryMarshal.Cast<byte, Half>(_tensor.AsSpan()));
        _encoded = new byte[TensorSerializer.MaxEncodedBytes(Type, _shape)];
        Encode();
    }

    [Benchmark]
    public int Encode() => _length = TensorSerializer.Encode(_tensor, Type, _shape, _encoded, new TensorEncoding(Compression: Compression));

    [Benchmark]
    public int Decode() => TensorSerializer.Decode(_encoded.AsSpan(0, _length), _decoded);
}
