using BenchmarkDotNet.Attributes;

namespace KvCache.MicroBench;

/// <summary>float32 to the 16-bit types and back, beside a copy of the float32 elements.</summary>
[MemoryDiagnoser]
public class ConversionBenchmarks
{
    private float[] _singles = [];
    private float[] _widened = [];
    private ushort[] _brains = [];
    private Half[] _halves = [];

    [Params(16 << 10, 16 << 20)]
    public int Elements { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        _singles = [.. Enumerable.Range(0, Elements).Select(_ => (random.NextSingle() * 8) - 4)];
        _widened = new float[Elements];
        _brains = new ushort[Elements];
        _halves = new Half[Elements];
        ToBFloat16();
        ToFloat16();
    }

    [Benchmark(Baseline = true)]
    public void Copy() => _singles.AsSpan().CopyTo(_widened);

    [Benchmark]
    public void ToBFloat16() => ElementConversion.SingleToBFloat16(_singles, _brains);

    [Benchmark]
    public void FromBFloat16() => ElementConversion.BFloat16ToSingle(_brains, _widened);

    [Benchmark]
    public void ToFloat16() => ElementConversion.SingleToFloat16(_singles, _halves);

    [Benchmark]
    public void FromFloat16() => ElementConversion.Float16ToSingle(_halves, _widened);
}
