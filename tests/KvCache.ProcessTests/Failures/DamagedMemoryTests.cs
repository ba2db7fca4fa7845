using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

public sealed class DamagedMemoryTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("damaged", KvLayout.Create(4, 4, 64, KvDataType.Float16, 64));

    [Fact]
    public async Task A_flipped_byte_in_the_arena_makes_its_block_a_miss_and_no_other()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true));
        await using var client = silo.Connect(silo.Unix);
        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        var prefix = Prefixes.New(Ns, 5);
        await client.MustStoreAsync(prefix);

        FlipByte(silo.ArenaPath, prefix, block: 2, offset: Ns.Layout.LayerOffset(1) + 77);

        var memory = prefix.Memory(5);
        var whole = await client.LoadAsync(prefix, 0, memory);
        Assert.Equal(new LoadResult(2, MissReason.Corrupt), whole);
        for (var block = 0; block < 2; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)));

        Assert.Equal(1, (await client.SiloAsync()).GetProperty("missesCorrupt").GetInt64());
        Assert.Equal(1, await client.StoreCounterAsync("corrupt"));
        Assert.Contains(
            "kvcache_block_misses_total{otel_scope_name=\"KvCache\",reason=\"corrupt\"} 1", await http.GetStringAsync("/metrics"),
            StringComparison.Ordinal);
        Assert.Equal(
            1, (await client.GetStatisticsAsync()).Misses.Where(miss => miss.Key == MissReason.Corrupt).Count(miss => miss.Value > 0));
        Assert.Contains("is damaged in memory (layer 1)", silo.Log, StringComparison.Ordinal);
        Assert.Equal(2, (await client.MatchAsync(prefix)).Blocks);
        Assert.Equal(new LoadResult(2, MissReason.None), await client.LoadAsync(prefix, 3, prefix.Memory(2)));

        await client.MustStoreTheRestAsync(prefix, firstBlock: 2);
        await client.MustLoadAsync(prefix);
    }

    [Fact]
    public async Task Layers_that_are_not_damaged_are_still_served()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true));
        await using var client = silo.Connect();
        var prefix = Prefixes.New(Ns, 1);
        await client.MustStoreAsync(prefix);

        FlipByte(silo.ArenaPath, prefix, block: 0, offset: Ns.Layout.LayerOffset(3));

        var range = new LayerRange(0, 3);
        var memory = new byte[Ns.Layout.RangeBytes(range)];
        Assert.Equal(new LoadResult(1, MissReason.None), await client.LoadAsync(prefix, 0, [memory], range));
        Assert.True(Content.IsRight(memory, prefix.Key(0)));
        Assert.Equal(
            new LoadResult(0, MissReason.Corrupt),
            await client.LoadAsync(prefix, 0, [new byte[Ns.Layout.LayerBytes(3)]], new LayerRange(3, 1)));
        Assert.Equal(new LoadResult(0, MissReason.Absent), await client.LoadAsync(prefix, 0, [memory], range));
    }

    internal static void FlipByte(string arena, KvPrefix prefix, int block, int offset)
    {
        var content = Content.Of(prefix, block);
        using var file = File.OpenHandle(arena, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var page = new byte[4096];
        for (long at = 0; RandomAccess.Read(file, page, at) == page.Length; at += page.Length)
        {
            if (!page.AsSpan().SequenceEqual(content.AsSpan(0, page.Length)))
                continue;
            RandomAccess.Write(file, [(byte)(content[offset] ^ 0x10)], at + offset);
            return;
        }

        Assert.Fail("The block was not found in the arena file.");
    }
}
