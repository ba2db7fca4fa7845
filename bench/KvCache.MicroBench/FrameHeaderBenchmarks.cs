using BenchmarkDotNet.Attributes;
using KvCache.Caching;
using KvCache.Engine.Wire;

namespace KvCache.MicroBench;

/// <summary>Header of a frame of the data plane with a meta part of 256 bytes.</summary>
[MemoryDiagnoser]
public class FrameHeaderBenchmarks
{
    private const int MetaBytes = 256;

    private readonly byte[] _written = new byte[FrameHeader.Size + MetaBytes];
    private readonly byte[] _received = new byte[FrameHeader.Size + MetaBytes];

    [GlobalSetup]
    public void Setup()
    {
        new Random(1).NextBytes(_written);
        Write();
    }

    [Benchmark]
    public void Write() => FrameHeader.Write(_written, FrameType.Match, WireStatus.Ok, requestId: 7, payloadLength: 0);

    [Benchmark]
    public ulong ParseAndVerify()
    {
        // Verifying clears the checksum of what was received.
        _written.CopyTo(_received, 0);
        var header = FrameHeader.Parse(_received, MetaBytes, 0);
        header.Verify(_received);
        return header.RequestId;
    }
}
