using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using KvCache.Engine.Storage;
using Xunit;

namespace KvCache.UnitTests;

[SupportedOSPlatform("linux")]
public sealed class AlignedMappingTests
{
    private const string Setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

    [Theory]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(4097)]
    [InlineData(2 << 20)]
    [InlineData((5 << 20) + 4096)]
    public void A_mapping_begins_at_a_huge_page_and_can_be_written_to_its_end(int length)
    {
        var address = AlignedMapping.Map(length, AlignedMapping.Read | AlignedMapping.Write, AlignedMapping.PrivateMemory, -1);
        Assert.NotEqual(-1, address);
        Assert.Equal(0, address % (nint)AlignedMapping.HugePageBytes);
        unsafe
        {
            new Span<byte>((void*)address, length).Fill(7);
        }

        Assert.True(AlignedMapping.Unmap(address, length));
    }

    [Fact]
    public void A_file_that_cannot_be_mapped_is_told_and_leaves_nothing_behind()
    {
        const long Length = 3L << 40; // nothing else has this size
        Assert.Equal(-1, AlignedMapping.Map(Length, AlignedMapping.Read, AlignedMapping.Shared, 1 << 20));
        Assert.Equal(9, Marshal.GetLastPInvokeError()); // EBADF
        Assert.DoesNotContain(MappedSizes(), bytes => bytes >= Length);
    }

    [Fact]
    public void An_arena_in_use_moves_into_huge_pages_for_the_silo_and_its_readers()
    {
        var path = $"/dev/shm/kvcache-test-{Guid.NewGuid():N}";
        using var arena = Arena.CreateShared(path, (8 << 20) + Arena.PageBytes);
        arena.Commit(TestContext.Current.CancellationToken);
        var bytes = arena.Span(0, (int)arena.Capacity);
        for (var i = 0; i < bytes.Length; i += sizeof(int))
            BitConverter.TryWriteBytes(bytes[i..], i);
        using var reader = SharedArena.Open(path, arena.Capacity);
        arena.UseHugePages(TestContext.Current.CancellationToken);
        Assert.True(reader.Read(0, (int)arena.Capacity).SequenceEqual(bytes));

        var inHugePages = HugePageKilobytes(path);
        Assert.Equal(2, inHugePages.Count);
        Assert.SkipUnless(
            HasHugePages,
            "This kernel gives no huge pages for shared memory (MADV_COLLAPSE needs Linux 6.1, and a system that does not deny it).");
        Assert.All(inHugePages, kilobytes => Assert.InRange(kilobytes, 2 << 10, 8 << 10)); // a host may have run out of some
    }

    private static bool HasHugePages =>
        Environment.OSVersion.Version >= new Version(6, 1) && File.Exists(Setting)
            && !File.ReadAllText(Setting).Contains("[deny]", StringComparison.Ordinal);

    // Of each mapping of a file, the part that is in huge pages.
    private static List<int> HugePageKilobytes(string path)
    {
        var found = new List<int>();
        var isInside = false;
        foreach (var line in File.ReadLines("/proc/self/smaps"))
        {
            if (line.Contains(path, StringComparison.Ordinal))
                isInside = true;
            else if (isInside && line.StartsWith("ShmemPmdMapped:", StringComparison.Ordinal))
            {
                found.Add(int.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
                isInside = false;
            }
        }

        return found;
    }

    private static IEnumerable<long> MappedSizes() => File.ReadLines("/proc/self/maps").Select(line =>
    {
        var range = line.Split(' ')[0].Split('-');
        return long.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture) - long.Parse(
            range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    });
}
