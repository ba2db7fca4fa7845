using System.Globalization;
using System.Runtime.Versioning;
using KvCache.Engine.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class ArenaTests
{
    [Fact]
    public void Only_committed_memory_is_handed_out()
    {
        using var arena = Arena.CreatePrivate(8 * Arena.PageBytes);
        Assert.Equal(0, arena.CommittedBytes);
        Assert.False(arena.TryAllocate(1, out _));
        arena.Commit(TestContext.Current.CancellationToken);
        Assert.Equal(arena.Capacity, arena.CommittedBytes);
        Assert.True(arena.TryAllocate(8 * Arena.PageBytes, out var offset));
        arena.Span(offset, 8 * Arena.PageBytes).Fill(1);
        Assert.False(arena.TryAllocate(1, out _));
        arena.Free(offset);
        Assert.Equal(0, arena.UsedBytes);
    }

    [Fact]
    public void Two_threads_that_commit_touch_every_page_once()
    {
        using var arena = Arena.CreatePrivate(96L << 20);
        Parallel.Invoke(
            () => arena.Commit(TestContext.Current.CancellationToken), () => arena.Commit(TestContext.Current.CancellationToken));
        Assert.Equal(arena.Capacity, arena.CommittedBytes);
        Assert.Equal(0, arena.Fragmentation);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 1)]
    [InlineData(3, 96)]
    [InlineData(3, 161)]
    public void Threads_of_several_nodes_touch_every_page_once(int threads, int mebibytes)
    {
        using var arena = Arena.CreatePrivate((long)mebibytes << 20);
        arena.CommitBy(threads, TestContext.Current.CancellationToken);
        Assert.Equal(arena.Capacity, arena.CommittedBytes);
        Assert.Equal(0, arena.Fragmentation);
        arena.Span(0, mebibytes << 20).Fill(1);
    }

    [Theory]
    [InlineData("0", 0b1)]
    [InlineData("0-1\n", 0b11)]
    [InlineData("0-2,5,7-8", 0b1_1010_0111)]
    [InlineData("63-70", 1UL << 63)]
    [InlineData("", 0)]
    [InlineData("x", 0)]
    [InlineData("1-2-3", 0)]
    [InlineData("-1", 0)]
    public void The_nodes_of_a_machine_are_a_list_of_ranges(string list, ulong mask) => Assert.Equal(mask, MemoryNodes.Parse(list));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    [SupportedOSPlatform("linux")]
    public unsafe void Huge_pages_are_asked_for_where_they_are_wanted(bool wanted)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Flags of mappings are told by Linux only.");
        using var arena = Arena.CreatePrivate(4L << 20, wanted);
        fixed (byte* start = arena.Span(0, 1))
        {
            var address = ((nint)start).ToString("x", CultureInfo.InvariantCulture);
            var flags = File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith($"{address}-", StringComparison.Ordinal))
                .First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal));
            Assert.Equal(wanted, flags.Split(' ').Contains("hg"));
        }
    }

    [Fact]
    public void A_cancelled_commit_leaves_what_it_had()
    {
        using var arena = Arena.CreatePrivate(Arena.PageBytes);
        Assert.Throws<OperationCanceledException>(() => arena.Commit(new CancellationToken(canceled: true)));
        Assert.Equal(0, arena.CommittedBytes);
    }

    [Fact]
    public void The_largest_request_there_can_be_is_refused()
    {
        using var arena = Memory.Arena(pages: 1);
        Assert.False(arena.TryAllocate(int.MaxValue, out _));
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.TryAllocate(0, out _));
    }

    [Fact]
    public void A_range_outside_of_the_arena_is_no_span()
    {
        using var arena = Arena.CreatePrivate(2 * Arena.PageBytes);
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Span(-1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Span(0, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Span(arena.Capacity, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Span(1, 2 * Arena.PageBytes));
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Span(long.MaxValue, 1));
        Assert.Equal(0, arena.Span(arena.Capacity, 0).Length);
    }

    [Fact]
    public void Fragmentation_is_the_share_of_free_memory_outside_of_the_largest_run()
    {
        using var arena = Memory.Arena(pages: 4);
        var offsets = Enumerable.Range(0, 4).Select(_ => arena.TryAllocate(1, out var offset) ? offset : -1).ToArray();
        arena.Free(offsets[0]);
        arena.Free(offsets[2]);
        Assert.Equal(0.5, arena.Fragmentation);
        arena.Free(offsets[1]);
        Assert.Equal(0, arena.Fragmentation);
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public void A_shared_arena_is_a_private_file_that_goes_with_it()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory("kvcache-").FullName, "arena");
        using (var arena = Arena.CreateShared(path, 4 * Arena.PageBytes))
        {
            arena.Commit(TestContext.Current.CancellationToken);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            arena.Span(Arena.PageBytes, 4).Fill(7);
            using var reader = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            reader.Position = Arena.PageBytes;
            Assert.Equal(7, reader.ReadByte());
            Assert.Contains(
                path, Assert.Throws<IOException>(() => Arena.CreateShared(path, Arena.PageBytes)).Message, StringComparison.Ordinal);
        }

        Assert.False(File.Exists(path));
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }
}
