using System.Diagnostics;
using KvCache.Caching;
using KvCache.Client;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ProcessTests;

public sealed class SharedMemoryTests(SharedMemoryTests.Silo shared) : IClassFixture<SharedMemoryTests.Silo>, IAsyncLifetime
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("shared", KvLayout.Create(4, 4, 64, KvDataType.Float16, 64)); // 256 KiB
    private static readonly SiloSettings Sharing = new(UseArenaFile: true, Arguments: ["--shared-memory"]);

    private readonly SiloProcess _silo = shared.Process;
    private readonly KvCacheClient _client = shared.Process.Connect(shared.Process.Unix, options => options.SharedMemory = true);

    // Of the test before nothing is left but what it has deleted.
    public async ValueTask InitializeAsync()
    {
        await _client.ClearAsync(Ns);
        await Eventually.TrueAsync("no block is leased", async () => await _client.StoreCounterAsync("leasedBlocks") == 0);
    }

    public ValueTask DisposeAsync() => _client.DisposeAsync();

    [Fact]
    public async Task Blocks_are_read_in_place_and_no_byte_of_them_crosses_the_socket()
    {
        var prefix = Prefixes.New(Ns, 8);
        await _client.MustStoreAsync(prefix);
        var sent = (await _client.SiloAsync()).GetProperty("sentBytes").GetInt64();

        await _client.MustLoadAsync(prefix);
        await _client.MustLoadAsync(prefix); // by the leases of the first time
        using (var mapped = await _client.MapAsync(prefix, 0, 8))
        {
            Assert.Equal((8, MissReason.None), (mapped.Count, mapped.Reason));
            for (var block = 0; block < 8; block++)
            {
                Assert.True(Content.IsRight(mapped[block].Bytes, prefix.Key(block)));
                Assert.True(mapped[block].IsIntact(Ns.Layout.AllLayers));
            }
        }

        Assert.InRange((await _client.SiloAsync()).GetProperty("sentBytes").GetInt64() - sent, 1, Ns.Layout.BlockBytes / 8);
        Assert.True((await _client.MapAsync(Prefixes.New(Ns, 1), 0, 1)) is { Count: 0, Reason: MissReason.Absent });
    }

    [Fact]
    public async Task A_tensor_over_the_arena_has_the_shape_and_the_values_of_the_block()
    {
        var prefix = Prefixes.New(Ns, 2);
        await _client.MustStoreAsync(prefix);
        using var mapped = await _client.MapAsync(prefix, 0, 2);
        using var tensor = mapped[1].AsTensor(new LayerRange(1, 2));
        Assert.Equal([2, 2, 64, 4, 64], tensor.shape);
        Assert.Equal(torch.ScalarType.Float16, tensor.dtype);
        Assert.True(tensor.bytes.SequenceEqual(
            Content.Of(prefix, 1).AsSpan(Ns.Layout.LayerOffset(1), Ns.Layout.RangeBytes(new LayerRange(1, 2)))));
    }

    [Fact]
    public async Task A_leased_block_stays_while_the_arena_is_filled_and_goes_when_it_is_released()
    {
        var prefix = Prefixes.New(Ns, 4);
        await _client.MustStoreAsync(prefix);
        var mapped = await _client.MapAsync(prefix, 0, 4);
        await FillAsync();
        await _client.DeleteAsync(prefix);
        await FillAsync();
        for (var block = 0; block < 4; block++)
            Assert.True(Content.IsRight(mapped[block].Bytes, prefix.Key(block)), $"Block {block} was overwritten under its lease.");

        mapped.Dispose();
        await Eventually.TrueAsync("no block is leased", async () =>
        {
            await _client.MapAsync(Prefixes.New(Ns, 1), 0, 1); // releases go with the next question
            return await _client.StoreCounterAsync("leasedBlocks") == 0;
        });

        async Task FillAsync()
        {
            for (var i = 0; i < 320; i++)
                await _client.MustStoreAsync(Prefixes.New(Ns, 1)); // 80 MiB into 64 MiB; the first block of a chain always gets room
        }
    }

    [Fact]
    public async Task A_process_gets_no_more_than_its_share_of_leases()
    {
        var prefix = Prefixes.New(Ns, 128); // 32 MiB, half of the arena
        await _client.MustStoreAsync(prefix);
        using var mapped = await _client.MapAsync(prefix, 0, 128);
        Assert.Equal(64, mapped.Count); // a quarter of 64 MiB
        Assert.Equal(MissReason.Absent, mapped.Reason);
    }

    [Fact]
    public async Task A_damaged_block_is_a_miss_for_a_reader_that_verifies()
    {
        var corrupt = await _client.StoreCounterAsync("corrupt");
        var prefix = Prefixes.New(Ns, 3);
        await _client.MustStoreAsync(prefix);
        using (var mapped = await _client.MapAsync(prefix, 1, 1))
        {
            using var file = File.OpenHandle(_silo.ArenaPath, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            RandomAccess.Write(file, [(byte)(mapped[0].Bytes[5] ^ 1)], mapped[0].Offset + 5);
            Assert.False(mapped[0].IsIntact(Ns.Layout.AllLayers));
        }

        Assert.Equal(new LoadResult(1, MissReason.Corrupt), await _client.LoadAsync(prefix, 0, prefix.Memory(3)));
        Assert.Equal(corrupt + 1, await _client.StoreCounterAsync("corrupt"));
        await _client.MustStoreTheRestAsync(prefix, firstBlock: 1);
        await _client.MustLoadAsync(prefix);
    }

    [Fact]
    public async Task The_leases_of_a_killed_process_end()
    {
        var python = FindPython();
        Assert.SkipWhen(python is null, "python3 is not installed, or there is no folder python above this program.");
        var prefix = Prefixes.New(Ns, 2);
        await _client.MustStoreAsync(prefix);
        var script = $"""
            import struct, sys, time
            from kvcache.client import Client
            client = Client({'"'}{_silo.Unix}{'"'})
            with client.call(None):
                client.request(13, struct.pack("<Q", 0))
                handle = struct.unpack_from("<I", client.request(3, bytes.fromhex("{Convert.ToHexString(Ns.Encoded)}")))[0]
                reply = client.request(14, struct.pack("<IBI", handle, 2, 2) + bytes.fromhex("{prefix.Chain.Hashes[0]}{prefix.Chain.Hashes[1]}"))
            assert struct.unpack_from("<QI", reply)[1] == 2
            client.close()
            print("leased", flush=True)
            time.sleep(600)
            """;
        var start = new ProcessStartInfo("python3", ["-c", script]) { RedirectStandardOutput = true };
        start.Environment["PYTHONPATH"] = python;
        using var reader = Process.Start(start)!;
        try
        {
            Assert.Equal("leased", await reader.StandardOutput.ReadLineAsync());
            Assert.Equal(2, await _client.StoreCounterAsync("leasedBlocks")); // its connection is closed, it is not
        }
        finally
        {
            reader.Kill();
        }

        await Eventually.TrueAsync(
            "the leases of the killed process have ended", async () => await _client.StoreCounterAsync("leasedBlocks") == 0);
    }

    [Fact]
    public async Task Memory_is_not_shared_over_tcp_nor_by_a_silo_that_was_not_told_to()
    {
        using (var tcp = BlockConnection.Connect(SiloEndpoint.TryParse(_silo.Tcp)!, "default", ""))
            Assert.Equal(WireStatus.InvalidRequest, Assert.Throws<SiloException>(() => tcp.MapArena(0)).Status);

        await using var closed = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true));
        await using var client = closed.Connect(closed.Unix, options => options.SharedMemory = true);
        var prefix = Prefixes.New(Ns, 2);
        await client.MustStoreAsync(prefix);
        await client.MustLoadAsync(prefix); // through the socket
        Assert.True(await client.MapAsync(prefix, 0, 1) is { Count: 0, Reason: MissReason.Unavailable });
    }

    [Fact]
    public void A_segment_hands_blocks_over_and_cannot_be_cut_off_under_the_silo()
    {
        using var connection = BlockConnection.Connect(SiloEndpoint.TryParse(_silo.Unix)!, "default", "");
        var offer = connection.MapArena(4L * Ns.Layout.BlockBytes);
        using var segment = SharedArena.Open(offer.SegmentPath, offer.SegmentBytes, writable: true);
        using (var file = new FileStream(offer.SegmentPath, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            Assert.ThrowsAny<Exception>(() => file.SetLength(4096));

        var prefix = Prefixes.New(Ns, 3);
        for (var block = 0; block < 3; block++)
            Content.Fill(segment.Write((long)(block + 1) * Ns.Layout.BlockBytes, Ns.Layout.BlockBytes), prefix.Key(block));
        Assert.Equal(
            [PutOutcome.Stored, PutOutcome.Stored, PutOutcome.Stored],
            connection.PutMapped(Ns, prefix.Chain.Hashes, default, 0, Ns.Layout.BlockBytes, new StoreOptions()).Outcomes);
        Assert.Equal(
            WireStatus.InvalidRequest,
            Assert.Throws<SiloException>(
            () => connection.PutMapped(Ns, prefix.Chain.Hashes, default, 0, 2L * Ns.Layout.BlockBytes, new StoreOptions())).Status);

        segment.Write(Ns.Layout.BlockBytes, Ns.Layout.BlockBytes).Clear(); // the silo has a copy
        var memory = prefix.Memory(3);
        var delivered = 0;
        Assert.Equal(
            MissReason.None, connection.Get(Ns, prefix.Chain.Hashes, Ns.Layout.AllLayers, memory, 0, localOnly: true, ref delivered));
        for (var block = 0; block < 3; block++)
            Assert.True(Content.IsRight(memory[block].Span, prefix.Key(block)));
    }

    private static string? FindPython()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (Directory.Exists(Path.Combine(folder.FullName, "python", "kvcache")))
                return File.Exists("/usr/bin/python3") ? Path.Combine(folder.FullName, "python") : null;
        }

        return null;
    }

    /// <summary>One silo for all of these tests.</summary>
    public sealed class Silo : IAsyncLifetime
    {
        internal SiloProcess Process { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Process = await SiloProcess.StartAsync(Sharing);

        public ValueTask DisposeAsync() => Process.DisposeAsync();
    }
}
