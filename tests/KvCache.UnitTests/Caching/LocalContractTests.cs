using KvCache.Client;
using KvCache.Testing;

namespace KvCache.UnitTests;

/// <summary>The contract of all caches, for the one in the memory of a process.</summary>
public sealed class LocalContractTests : CacheContract
{
    protected override CacheCapabilities Capabilities =>
        CacheCapabilities.Hold | CacheCapabilities.Pin | CacheCapabilities.LoadLayers | CacheCapabilities.Hints;

    protected override IKvCache Create() => new LocalKvCache(ByteSize.MiB(4));
}
