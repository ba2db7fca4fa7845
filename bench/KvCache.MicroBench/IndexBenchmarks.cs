using BenchmarkDotNet.Attributes;
using KvCache.Engine.Index;

namespace KvCache.MicroBench;

/// <summary>A look-up of a whole prompt of 512 blocks in an index.</summary>
[MemoryDiagnoser]
public class IndexBenchmarks
{
    private const int TokensPerBlock = 256;
    private const int PromptBlocks = 512;

    private readonly PrefixIndex _index = new();
    private readonly ulong[] _holders = new ulong[PromptBlocks];
    private readonly NamespaceId _namespace = new(new TenantId(1), 2);
    private BlockHash[] _stored = [];
    private BlockHash[] _missing = [];

    /// <summary>Blocks in the index.</summary>
    [Params(1_024, 131_072)]
    public int Blocks { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        for (var chain = 0; chain < Blocks / PromptBlocks; chain++)
        {
            _stored = Chain(chain);
            foreach (var hash in _stored)
                _index.Add(new BlockKey(_namespace, hash), holder: 0);
        }

        _missing = Chain(-1);
    }

    [Benchmark]
    public int Hit() => _index.Match(_namespace, _stored, _holders);

    [Benchmark]
    public int Miss() => _index.Match(_namespace, _missing, _holders);

    private static BlockHash[] Chain(int number)
    {
        var hashes = new BlockHash[PromptBlocks];
        var tokens = new int[PromptBlocks * TokensPerBlock];
        tokens.AsSpan().Fill(number);
        PrefixHasher.HashTokens(tokens, TokensPerBlock, hashes);
        return hashes;
    }
}
