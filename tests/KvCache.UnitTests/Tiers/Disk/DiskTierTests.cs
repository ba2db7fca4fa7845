using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Disk;
using KvCache.Testing;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests.Tiers.Disk;

/// <summary>Blocks that leave the memory come back from the disk, and nothing else does.</summary>
public sealed class DiskTierTests : IDisposable
{
    private const int Many = 4 * DiskFixture.ArenaBlocks;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvcache-disk-").FullName;
    private readonly List<string> _copies = [];

    public void Dispose()
    {
        foreach (var folder in _copies.Append(_folder))
            Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task What_is_evicted_is_read_from_the_disk_and_this_silo_holds_it_all_the_while()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, Many));
        Assert.All(Enumerable.Range(0, Many), key => Assert.True(disk.IsHeld(key)));
        Assert.Equal(Many, disk.Readable(Enumerable.Range(0, Many)).Length);
        Assert.True(disk.Tier.GetStatus().Blocks >= Many - DiskFixture.ArenaBlocks);
    }

    [Fact]
    public async Task A_block_that_was_read_from_the_disk_is_not_written_a_second_time()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, Many));
        for (var turn = 0; turn < 3; turn++)
        {
            var written = disk.Tier.GetStatus().WrittenBytes;
            for (var key = 0; key < Many; key++)
            {
                Assert.NotNull(disk.Get(key));
                await disk.KeepUpAsync();
            }

            if (turn > 0)
                Assert.Equal(written, disk.Tier.GetStatus().WrittenBytes);
        }
    }

    [Fact]
    public async Task Everything_is_there_after_a_restart_what_was_only_in_memory_too()
    {
        var before = await DiskFixture.StartAsync(_folder);
        await before.PutAllAsync(Enumerable.Range(0, Many));
        await before.EndAsync();
        using var disk = await DiskFixture.StartAsync(_folder);
        Assert.All(Enumerable.Range(0, Many), key => Assert.True(disk.IsHeld(key)));
        Assert.Equal(Many, disk.Readable(Enumerable.Range(0, Many)).Length);
    }

    [Fact]
    public async Task A_kill_costs_what_was_not_complete_and_brings_back_nothing_deleted()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, 10 * Many)); // 10 segments
        var gone = Enumerable.Range(0, 10 * Many).Where(key => key % 3 == 0).ToArray();
        foreach (var key in gone)
            disk.Delete(key);
        Assert.Empty(disk.Readable(gone));
        using var killed = await CopyAsync(disk);
        Assert.Empty(killed.Readable(gone));
        var left = killed.Readable(Enumerable.Range(0, 10 * Many));
        Assert.InRange(left.Length, 300, 10 * Many);
        Report.Line($"{left.Length} of {10 * Many - gone.Length} blocks are left.");
    }

    [Fact]
    public async Task A_block_that_is_in_memory_too_is_deleted_from_the_disk()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, 3 * Many));
        Assert.NotNull(disk.Get(0));
        Assert.True(disk.Store.Contains(DiskFixture.Key(0)));
        disk.Delete(0);
        Assert.Null(disk.Get(0));
        using var killed = await CopyAsync(disk);
        Assert.Null(killed.Get(0));
        Assert.NotNull(killed.Get(1));
    }

    [Fact]
    public async Task What_was_replaced_does_not_come_back()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, 3 * Many));
        disk.Put(0, version: 1);
        Assert.Equal(1, disk.Get(0));
        using (var killed = await CopyAsync(disk))
            Assert.Null(killed.Get(0)); // the new one was in memory only
        await disk.PutAllAsync(Enumerable.Range(1000, Many));
        Assert.False(disk.Store.Contains(DiskFixture.Key(0)));
        Assert.Equal(1, disk.Get(0));
        await disk.EndAsync();
        using var after = await DiskFixture.StartAsync(_folder);
        Assert.Equal(1, after.Get(0));
    }

    [Fact]
    public async Task A_block_that_is_put_once_more_stays_on_the_disk_and_is_not_written_again()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, Many));
        await disk.Tier.DrainAsync();
        Assert.False(disk.Store.Contains(DiskFixture.Key(0)));
        disk.Put(0);
        Assert.True(disk.Tier.Has(DiskFixture.Key(0)));
        var written = disk.Tier.GetStatus().WrittenBytes;
        for (var key = 1; key <= 2 * DiskFixture.ArenaBlocks; key++)
            Assert.NotNull(disk.Get(key)); // all from the disk, until it has left the memory
        Assert.False(disk.Store.Contains(DiskFixture.Key(0)));
        Assert.Equal(written, disk.Tier.GetStatus().WrittenBytes);
        Assert.Equal(0, disk.Get(0));
    }

    [Theory]
    [InlineData(9, 1)]
    [InlineData(5, 0)]
    public void Blocks_of_a_tenant_that_has_less_than_its_part_of_the_disk_move_on(int ofOther, int expected)
    {
        using var journal = new DiskJournal((_, reason) => Assert.Fail(reason.Message));
        using var index = new DiskIndex(journal, TimeProvider.System);
        var path = Path.Combine(_folder, "000000000001.segment");
        var segment = new DiskSegment(1, path, DirectFile.Create(path, 1 << 20, direct: false), isSealed: false);
        index.Add(segment);
        for (var i = 0; i < 10; i++)
        {
            var tenant = new TenantId(i < ofOther ? 1UL : 2UL);
            var key = new BlockKey(new NamespaceId(tenant, 0), DiskFixture.Key(i).Hash);
            var block = new DiskBlock(key, 1, KvLayout.Opaque(4096, 1), default, default);
            index.Add(block);
            index.Written(block, segment, 1 + (2 * i));
        }

        Assert.Equal(expected, index.Hot(segment, _ => 0.5).Count);
        Assert.All(index.Hot(segment, _ => 0.5), block => Assert.Equal(new TenantId(2), block.Key.Namespace.Tenant));
    }

    [Fact]
    public async Task Lives_go_on_on_the_disk_and_can_be_changed_there()
    {
        var time = new ManualTime();
        using var disk = await DiskFixture.StartAsync(_folder, time: time);
        for (var key = 0; key < 3 * Many; key++)
        {
            disk.Put(key, life: TimeSpan.FromMinutes(1));
            await disk.KeepUpAsync();
        }

        Assert.True(disk.SetLife(1, TimeSpan.FromHours(1)));
        Assert.True(disk.SetLife(2, TimeSpan.MaxValue));
        Assert.True(disk.SetLife(3, TimeSpan.FromSeconds(30)));
        Assert.False(disk.SetLife(1000, TimeSpan.FromHours(1)));
        time.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal([0, 1, 2, 4], disk.Readable(Enumerable.Range(0, 5)));
        var killedAt = disk.Copy();
        time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal([1, 2], disk.Readable(Enumerable.Range(0, 3 * Many)));
        await Eventually.TrueAsync("nobody is told that they are here", () => !disk.IsHeld(0) && !disk.IsHeld(40) && disk.IsHeld(1));

        using var killed = await OpenAsync(killedAt, time);
        Assert.Equal([1, 2], killed.Readable(Enumerable.Range(0, 3 * Many)));
        time.Advance(TimeSpan.FromHours(1));
        Assert.Equal([2], killed.Readable(Enumerable.Range(0, 3 * Many)));
    }

    [Fact]
    public async Task Files_stay_within_their_size_and_what_is_read_stays_longest()
    {
        using var disk = await DiskFixture.StartAsync(_folder, options => options.Size = ByteSize.MiB(4));
        int[] hot = [.. Enumerable.Range(0, 16)];
        await disk.PutAllAsync(hot);
        for (var round = 0; round < 30; round++)
        {
            await disk.PutAllAsync(Enumerable.Range(1000 + (round * 40), 40)); // nearly a segment
            foreach (var key in hot)
            {
                disk.Get(key);
                await disk.KeepUpAsync();
            }

            Assert.InRange(new DirectoryInfo(_folder).GetFiles("*.segment").Sum(file => file.Length), 0, ByteSize.MiB(4).Bytes);
        }

        Assert.Equal(hot, disk.Readable(hot));
        Assert.Null(disk.Get(1000));
        Assert.False(disk.IsHeld(1000));
        Assert.NotNull(disk.Get(1000 + (29 * 40)));
    }

    [Fact]
    public async Task An_encrypted_disk_shows_nothing_and_needs_its_key()
    {
        var keys = Path.Combine(Directory.CreateTempSubdirectory("kvcache-keys-").FullName, "keys");
        _copies.Add(Path.GetDirectoryName(keys)!);
        await File.WriteAllTextAsync(keys, $"1 {Convert.ToBase64String(new byte[32])}");
        var before = await DiskFixture.StartAsync(_folder, sealFile: keys);
        await before.PutAllAsync(Enumerable.Range(0, Many));
        Assert.Equal(Many, before.Readable(Enumerable.Range(0, Many)).Length);
        byte[] content;
        using (var lease = before.Store.TryLease(DiskFixture.Key(Many - 1)))
            content = lease!.Bytes.Slice(100, 64).ToArray();
        await before.EndAsync();
        foreach (var file in Directory.GetFiles(_folder, "*.segment"))
            Assert.Equal(-1, File.ReadAllBytes(file).AsSpan().IndexOf(content));

        using (var again = await DiskFixture.StartAsync(_folder, sealFile: keys))
            Assert.Equal(Many, again.Readable(Enumerable.Range(0, Many)).Length);
        await File.WriteAllTextAsync(keys, $"1 {Convert.ToBase64String([.. Enumerable.Repeat((byte)1, 32)])}");
        using var foreign = await DiskFixture.StartAsync(_folder, sealFile: keys);
        Assert.Empty(foreign.Readable(Enumerable.Range(0, Many)));
    }

    [Fact]
    public async Task Damage_is_a_miss_and_brings_back_nothing()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, 10 * Many));
        foreach (var key in Enumerable.Range(0, 10 * Many).Where(key => key % 5 == 0))
            disk.Delete(key);
        var random = new Random(7);
        foreach (var damage in (string[])["flip", "cut", "swap", "flip changes"])
        {
            var copy = disk.Copy();
            _copies.Add(copy);
            Damage(copy, damage, random);
            using var damaged = await DiskFixture.StartAsync(copy);
            var left = damaged.Readable(Enumerable.Range(0, 10 * Many));
            Assert.DoesNotContain(left, key => key % 5 == 0);
            Assert.True(left.Length > 50, $"{damage}: {left.Length} blocks are left.");
            Report.Line($"{damage}: {left.Length} blocks are left.");
        }
    }

    [Fact]
    public async Task A_machine_that_lost_its_power_begins_with_an_empty_disk()
    {
        using var disk = await DiskFixture.StartAsync(_folder);
        await disk.PutAllAsync(Enumerable.Range(0, 3 * Many));
        var copy = disk.Copy();
        var manifest = Path.Combine(copy, "kvcache-disk.json");
        var text = await File.ReadAllTextAsync(manifest);
        var boot = System.Text.Json.JsonDocument.Parse(text).RootElement.GetProperty("boot").GetString()!;
        await File.WriteAllTextAsync(manifest, text.Replace(boot, "before", StringComparison.Ordinal));
        using var after = await OpenAsync(copy, time: null);
        Assert.Empty(after.Readable(Enumerable.Range(0, 3 * Many)));
        Assert.Empty(Directory.GetFiles(copy, "*.segment"));
    }

    [Fact]
    public async Task Changes_that_were_left_of_an_earlier_segment_change_nothing_in_a_new_one()
    {
        var before = await DiskFixture.StartAsync(_folder);
        await before.PutAllAsync(Enumerable.Range(0, 3 * Many));
        for (var key = 0; key < Many; key++)
            before.Delete(key);
        await before.EndAsync();
        foreach (var segment in Directory.GetFiles(_folder, "*.segment"))
            File.Delete(segment);
        Assert.NotEmpty(Directory.GetFiles(_folder, "*.changes"));

        var again = await DiskFixture.StartAsync(_folder);
        await again.PutAllAsync(Enumerable.Range(1000, 3 * Many));
        await again.EndAsync();
        using var after = await DiskFixture.StartAsync(_folder);
        Assert.Equal(3 * Many, after.Readable(Enumerable.Range(1000, 3 * Many)).Length);
    }

    [Fact]
    public async Task What_cannot_be_read_yet_is_replaced_deleted_and_forgotten_all_the_same()
    {
        var before = await DiskFixture.StartAsync(_folder);
        await before.PutAllAsync(Enumerable.Range(0, 10));
        await before.EndAsync();
        var trust = new LateTrust();
        using var disk = await DiskFixture.StartAsync(_folder, trust: trust);
        await Eventually.TrueAsync("it was found", () => disk.Directory.UnderWay.Any(isUnderWay => isUnderWay(DiskFixture.Key(0)))
            && disk.Tier.Wait());
        Assert.Empty(disk.Readable(Enumerable.Range(0, 10)));
        disk.Delete(1);
        disk.Put(2, version: 1);
        trust.IsDecided = true;
        await Eventually.TrueAsync("the rest can be read", () => disk.Get(0) is not null);
        Assert.Equal((null, 1, 0), (disk.Get(1), disk.Get(2), disk.Get(3)));
        await disk.PutAllAsync(Enumerable.Range(1000, Many));
        Assert.Equal(1, disk.Get(2)); // from the disk, by now
    }

    [Fact]
    public async Task A_silo_that_ends_before_it_knows_leaves_what_its_disk_says_of_the_run_before()
    {
        var before = await DiskFixture.StartAsync(_folder);
        await before.PutAllAsync(Enumerable.Range(0, 10));
        await before.EndAsync();
        var manifest = Path.Combine(_folder, "kvcache-disk.json");
        var text = (await File.ReadAllTextAsync(manifest)).Replace("\"isAlone\": true", "\"isAlone\": false", StringComparison.Ordinal);
        await File.WriteAllTextAsync(manifest, text);
        var undecided = await DiskFixture.StartAsync(_folder, trust: new LateTrust());
        await Eventually.TrueAsync("it was found", undecided.Tier.Wait);
        await undecided.EndAsync();
        Assert.Equal(text, await File.ReadAllTextAsync(manifest));
    }

    // Generation, what the silo had heard, since when deletions are known, up to when they are forgotten.
    [Theory]
    [InlineData(10, 20, 15, 0, true)] // somebody was there all the while
    [InlineData(10, 20, 25, 0, false)] // nobody was
    [InlineData(30, 20, 25, 0, true)] // it was stored behind
    [InlineData(10, 20, 15, 18, true)] // the forgotten ones were heard of
    [InlineData(10, 20, 15, 25, false)] // one of them may be its own
    [InlineData(22, 20, 15, 25, false)] // also where it was stored while somebody was there
    [InlineData(26, 20, 15, 25, true)]
    public void A_block_may_live_where_nobody_can_have_deleted_it_unheard(ulong generation, ulong heard, ulong known, ulong forgotten, bool lives) =>
        Assert.Equal(lives, DiskTier.MayLive(generation, heard, known, forgotten));

    [Fact]
    public async Task A_disk_that_is_gone_costs_its_blocks_and_nothing_else()
    {
        using var disk = await DiskFixture.StartAsync(
            _folder, options => (options.BreakerDelay, options.ReadTimeout) = (TimeSpan.FromMilliseconds(10), TimeSpan.FromSeconds(1)));
        await disk.PutAllAsync(Enumerable.Range(0, Many));
        Directory.Delete(_folder, recursive: true);
        try
        {
            for (var key = 1000; key < 1000 + (20 * Many); key++)
            {
                disk.Put(key);
                Assert.NotNull(disk.Get(key));
            }

            await Eventually.TrueAsync("the disk is left alone", () =>
            {
                disk.Put(5000 + Random.Shared.Next(100_000), version: 1);
                return disk.Tier.GetStatus().IsLeftAlone;
            });
            Assert.Contains("No such file", disk.Tier.GetStatus().LastError);
        }
        finally
        {
            Directory.CreateDirectory(_folder);
        }
    }

    [Fact]
    public async Task Two_silos_or_another_ones_disk_or_other_files_are_told_in_a_sentence()
    {
        var first = await DiskFixture.StartAsync(_folder);
        Assert.Contains("is used by another process", Assert.Throws<IOException>(() => new DiskFixture(_folder)).Message);
        await first.EndAsync();
        Assert.Contains(
            "belongs to the silo 'test', and this one is 'other'",
            Assert.Throws<IOException>(() => new DiskFixture(_folder, options => options.Owner = "other")).Message);
        var manifest = Path.Combine(_folder, "kvcache-disk.json");
        var text = await File.ReadAllTextAsync(manifest);
        await File.WriteAllTextAsync(manifest, text.Replace("\"version\": 1", "\"version\": 2", StringComparison.Ordinal));
        Assert.Contains("has the format 2; this silo reads 1", Assert.Throws<IOException>(() => new DiskFixture(_folder)).Message);
        await File.WriteAllTextAsync(manifest, "{");
        Assert.Contains("is damaged", Assert.Throws<IOException>(() => new DiskFixture(_folder)).Message);
        File.Delete(manifest);
        await File.WriteAllTextAsync(Path.Combine(_folder, "letter.txt"), "Dear");
        Assert.Contains("has files of somebody else", Assert.Throws<IOException>(() => new DiskFixture(_folder)).Message);
    }

    [Fact]
    public void A_budget_of_wear_keeps_what_is_not_used_again_away_first()
    {
        var time = new ManualTime();
        var budget = new WearBudget(24_000, time);
        Assert.True(budget.TryTake(600, wasReused: false));
        Assert.False(budget.TryTake(100, wasReused: false));
        Assert.True(budget.TryTake(500, wasReused: true));
        Assert.False(budget.TryTake(1, wasReused: true));
        time.Advance(TimeSpan.FromMinutes(45));
        Assert.True(budget.TryTake(100, wasReused: false));
        Assert.True(new WearBudget(0, time).TryTake(long.MaxValue, wasReused: false));
    }

    private sealed class LateTrust : IDiskTrust
    {
        public bool? IsAlone => true;

        public ulong Heard => 0;

        public int Run => 7;

        public bool IsDecided { get; set; }

        public ulong? KnownSince(DiskManifest manifest) => IsDecided ? 0 : null;
    }

    private async Task<DiskFixture> CopyAsync(DiskFixture disk) => await OpenAsync(disk.Copy(), time: null);

    private async Task<DiskFixture> OpenAsync(string copy, ManualTime? time)
    {
        _copies.Add(copy);
        return await DiskFixture.StartAsync(copy, time: time);
    }

    private static void Damage(string folder, string damage, Random random)
    {
        var segments = Directory.GetFiles(folder, damage == "flip changes" ? "*.changes" : "*.segment").Order().ToArray();
        var some = segments.Where(_ => random.Next(2) == 0).ToArray();
        switch (damage)
        {
            case "swap":
                File.Move(segments[0], segments[0] + ".x");
                File.Move(segments[1], segments[0]);
                File.Move(segments[0] + ".x", segments[1]);
                break;
            case "cut":
                foreach (var path in some)
                {
                    using var file = File.OpenWrite(path);
                    file.SetLength(random.NextInt64(file.Length));
                }

                break;
            default:
                foreach (var path in some)
                {
                    using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
                    for (var flips = 0; flips < 20; flips++)
                    {
                        file.Position = random.NextInt64(file.Length);
                        var value = file.ReadByte();
                        file.Position--;
                        file.WriteByte((byte)(value ^ (1 << random.Next(8))));
                    }
                }

                break;
        }
    }
}
