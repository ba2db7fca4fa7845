using KvCache.Client;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>Namespaces and prefixes of tests.</summary>
internal static class Prefixes
{
    private static int _nextToken;

    public static CacheNamespace Namespace(string model, KvLayout layout, string tenant = "default") =>
        new() { Tenant = tenant, Model = model, Layout = layout };

    /// <summary>A prefix that no other test uses.</summary>
    public static KvPrefix New(CacheNamespace ns, int blocks)
    {
        var first = Interlocked.Increment(ref _nextToken);
        return KvPrefix.Of(ns, [first, .. Enumerable.Range(0, (blocks * ns.Layout.TokensPerBlock) - 1)]);
    }

    public static BlockKey Key(this KvPrefix prefix, int block) => new(prefix.Namespace.Id, prefix.Chain.Hashes[block]);

    public static ReadOnlyMemory<byte>[] Blocks(this KvPrefix prefix) =>
        [.. Enumerable.Range(0, prefix.BlockCount).Select(block => (ReadOnlyMemory<byte>)Content.Of(prefix, block))];

    /// <summary>Memory for blocks of a prefix.</summary>
    public static Memory<byte>[] Memory(this KvPrefix prefix, int blocks) =>
        [.. Enumerable.Range(0, blocks).Select(_ => (Memory<byte>)new byte[prefix.Namespace.Layout.BlockBytes])];

    /// <summary>Stores all blocks of a prefix, and fails when that does not work.</summary>
    public static async Task MustStoreAsync(this KvCacheClient client, KvPrefix prefix)
    {
        var result = await client.StoreAsync(prefix, 0, prefix.Blocks());
        Assert.Equal(new StoreResult(prefix.BlockCount, 0, 0, MissReason.None, null), result);
    }

    /// <summary>Stores the blocks of a prefix that are missing from a block on.</summary>
    public static async Task MustStoreTheRestAsync(this KvCacheClient client, KvPrefix prefix, int firstBlock)
    {
        var result = await client.StoreAsync(prefix, firstBlock, prefix.Blocks()[firstBlock..]);
        Assert.Equal(
            (prefix.BlockCount - firstBlock, 0, MissReason.None), (result.Stored + result.AlreadyStored, result.Refused, result.Reason));
    }

    /// <summary>Loads all blocks of a prefix and compares every byte; fails when one is missing.</summary>
    public static async Task MustLoadAsync(this KvCacheClient client, KvPrefix prefix)
    {
        var memory = prefix.Memory(prefix.BlockCount);
        Assert.Equal(new LoadResult(prefix.BlockCount, MissReason.None), await client.LoadAsync(prefix, 0, memory));
        prefix.AssertRight(memory);
    }

    /// <summary>Compares the bytes of the first blocks of a prefix.</summary>
    public static void AssertRight(this KvPrefix prefix, Memory<byte>[] memory)
    {
        for (var block = 0; block < memory.Length; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
    }

    /// <summary>Loads blocks of a prefix and compares every byte of those that come.</summary>
    /// <returns>Whether all came.</returns>
    public static async Task<bool> LoadsAsync(this KvCacheClient client, KvPrefix prefix)
    {
        var memory = prefix.Memory(prefix.BlockCount);
        var loaded = await client.LoadAsync(prefix, 0, memory);
        for (var block = 0; block < loaded.Blocks; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)), $"Block {block} has wrong bytes.");
        return loaded.Blocks == prefix.BlockCount;
    }

    /// <summary>What the silo says of itself.</summary>
    public static async Task<System.Text.Json.JsonElement> SiloAsync(this KvCacheClient client) =>
        (await client.GetStatisticsAsync()).Silo ?? throw new InvalidOperationException("The silo did not answer the stat message.");

    /// <summary>What a silo that shows its figures over loopback says of itself.</summary>
    public static async Task<System.Text.Json.JsonElement> SiloAsync(this SiloProcess silo)
    {
        using var http = new HttpClient();
        using var figures = System.Text.Json.JsonDocument.Parse(await http.GetStringAsync($"{silo.Ready.Http}/admin/stats"));
        return figures.RootElement.Clone();
    }

    /// <summary>What a silo that shows its figures over loopback says of its disk.</summary>
    public static async Task<System.Text.Json.JsonElement> DiskAsync(this SiloProcess silo) => (await silo.SiloAsync()).GetProperty("disk");

    /// <summary>Waits until a silo has room again: puts that are faster than its disk go on without it.</summary>
    public static Task<TimeSpan> KeepUpAsync(this SiloProcess silo) => Eventually.TrueAsync("there is room again", async () =>
    {
        var store = (await silo.SiloAsync()).GetProperty("store");
        return store.GetProperty("arenaCommittedBytes").GetInt64() - store.GetProperty("arenaUsedBytes").GetInt64() >= 512 << 10;
    });

    /// <summary>A counter of the store of a silo that shows its figures over loopback.</summary>
    public static async Task<long> StoreCounterAsync(this SiloProcess silo, string name) =>
        (await silo.SiloAsync()).GetProperty("store").GetProperty(name).GetInt64();

    /// <summary>A counter of the store of a silo without tenants.</summary>
    public static async Task<long> StoreCounterAsync(this KvCacheClient client, string name) =>
        (await client.SiloAsync()).GetProperty("store").GetProperty(name).GetInt64();
}
