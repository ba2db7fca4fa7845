using BenchmarkDotNet.Attributes;
using KvCache.Checksums;

namespace KvCache.MicroBench;

/// <summary>CRC-32 of a layer.</summary>
[MemoryDiagnoser]
public class ChecksumBenchmarks
{
    private byte[] _bytes = [];

    [Params(4 << 10, 1 << 20)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _bytes = new byte[Bytes];
        new Random(1).NextBytes(_bytes);
    }

    [Benchmark]
    public uint Crc32() => BlockChecksum.Compute(_bytes);
}
