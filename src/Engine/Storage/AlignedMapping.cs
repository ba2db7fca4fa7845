using System.Runtime.InteropServices;

namespace KvCache.Engine.Storage;

/// <summary>
/// Mappings that begin at a huge page, and memory in huge pages. A block that lies in pages of 4 KiB is copied more slowly: the processor
/// looks 512 times as many addresses up, and fetches nothing ahead over the end of a page.
/// </summary>
internal static partial class AlignedMapping
{
    /// <summary>A huge page of x86-64, and of ARM64 with pages of 4 KiB.</summary>
    public const long HugePageBytes = 2L << 20;

    public const int Read = 1, Write = 2;
    public const int Shared = 1, PrivateMemory = 2 | 0x20 | 0x4000; // MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE

    private const int MostAttempts = 4;
    private const int AdviceCollapse = 25;

    /// <summary>Maps a file from its start, or private memory.</summary>
    /// <param name="length">Bytes.</param>
    /// <param name="protection"><see cref="Read"/>, or also <see cref="Write"/>.</param>
    /// <param name="flags"><see cref="Shared"/> or <see cref="PrivateMemory"/>.</param>
    /// <param name="file">Descriptor, or -1.</param>
    /// <returns>The address, in all likelihood a multiple of a huge page; or -1, and the last error of the platform says why.</returns>
    public static nint Map(long length, int protection, int flags, int file)
    {
        // Finds a free place, frees it, and asks for the multiple of a huge page in it. Somebody else may be there first: then the kernel
        // takes another place, and nothing of theirs is touched.
        for (var attempt = 1; ; attempt++)
        {
            var free = Mmap(0, (nuint)(length + HugePageBytes), 0, PrivateMemory, -1, 0);
            if (free == -1)
                return -1;
            _ = Munmap(free, (nuint)(length + HugePageBytes));
            var address =
                Mmap((nint)((free + HugePageBytes - 1) / HugePageBytes * HugePageBytes), (nuint)length, protection, flags, file, 0);
            if (address == -1 || address % (nint)HugePageBytes == 0 || attempt == MostAttempts)
                return address;
            _ = Munmap(address, (nuint)length);
        }
    }

    /// <summary>Unmaps what <see cref="Map"/> mapped.</summary>
    public static bool Unmap(nint address, long length) => Munmap(address, (nuint)length) == 0;

    /// <summary>Moves a range, whose pages were touched, into huge pages, for every process that maps it.</summary>
    /// <remarks>
    /// <c>MADV_COLLAPSE</c>, Linux 6.1 and later: it works where the system gives huge pages only on request, and for memory of a tmpfs
    /// also where it gives none by itself.
    /// What the host has no huge pages for stays as it is. A call costs milliseconds, as it waits for every processor: one is for many
    /// pages.
    /// </remarks>
    public static void Collapse(nint address, long length) => _ = Madvise(address, (nuint)length, AdviceCollapse);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(nint address, nuint length, int advice);
}
