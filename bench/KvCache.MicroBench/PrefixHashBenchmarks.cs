using BenchmarkDotNet.Attributes;

namespace KvCache.MicroBench;

/// <summary>The chain of hashes of a prompt.</summary>
[MemoryDiagnoser]
public class PrefixHashBenchmarks
{
    private const int TokensPerBlock = 256;

    private int[] _tokens = [];
    private BlockHash[] _hashes = [];

    [Params(4_096, 131_072)]
    public int Tokens { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _tokens = [.. Enumerable.Range(0, Tokens)];
        _hashes = new BlockHash[Tokens / TokensPerBlock];
    }

    [Benchmark]
    public BlockHash Chain()
    {
        PrefixHasher.HashTokens(_tokens, TokensPerBlock, _hashes);
        return _hashes[^1];
    }
}
