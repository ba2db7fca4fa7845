using BenchmarkDotNet.Attributes;
using KvCache.Engine.Storage;

namespace KvCache.MicroBench;

/// <summary>The life of a block in a store of one process: memory, publication, lease, removal. No bytes are copied.</summary>
[MemoryDiagnoser]
public class BlockStoreBenchmarks : IDisposable
{
    private const int ArenaBytes = 64 << 20;

    private readonly BlockHash _hash = PrefixHasher.HashBlock(PrefixHasher.TokenRoot, [1, 2, 3]);
    private readonly KvLayout _layout = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 32, KvDataType.BFloat16, tokensPerBlock: 64);
    private Arena _arena = null!;
    private BlockStore _store = null!;

    [GlobalSetup]
    public void Setup()
    {
        _arena = Arena.CreatePrivate(ArenaBytes);
        _arena.Commit();
        _store = new BlockStore(_arena);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _store.Dispose();
        _arena.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark]
    public long AllocateAndFree()
    {
        if (_arena.TryAllocate(_layout.BlockBytes, out var offset))
            _arena.Free(offset);
        return offset;
    }

    [Benchmark]
    public bool ReservePublishRemove()
    {
        var key = new BlockKey(new NamespaceId(new TenantId(1), 2), _hash);
        using var write = _store.TryReserve(key, _layout, new BlockLineage(default, 0, 0, 0))!;
        _store.Publish(key, write.Generation);
        return _store.Remove(key);
    }

    [Benchmark]
    public bool ReservePublishLeaseRemove()
    {
        var key = new BlockKey(new NamespaceId(new TenantId(1), 2), _hash);
        using var write = _store.TryReserve(key, _layout, new BlockLineage(default, 0, 0, 0))!;
        _store.Publish(key, write.Generation);
        using (var lease = _store.TryLease(key))
            return _store.Remove(key);
    }
}
