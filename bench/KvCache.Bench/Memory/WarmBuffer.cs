using System.ComponentModel;
using System.Runtime.InteropServices;

namespace KvCache.Bench.Memory;

/// <summary>
/// Unmanaged memory whose pages exist before anything is measured. The first touch of a page costs up to a hundred times what copying
/// it costs; a benchmark that touches fresh pages measures the kernel's (on a virtual machine, the host's) page faults instead.
/// </summary>
internal sealed unsafe partial class WarmBuffer : IDisposable
{
    private const int ReadWrite = 1 | 2;
    private const int MapShared = 0x01;
    private const int MapPrivateAnonymous = 0x02 | 0x20;
    private const int MadviseHugePage = 14;
    private const int MadvisePopulateWrite = 23;
    private const long HugePage = 2 << 20;

    /// <summary>Bytes of the smallest buffer that is of any use.</summary>
    public const long LeastBytes = 4096;

    private readonly nint _mapping;
    private readonly long _mapped;
    private readonly byte* _start;
    private bool _disposed;

    private WarmBuffer(nint mapping, long mapped, long length)
    {
        _mapping = mapping;
        _mapped = mapped;
        _start = (byte*)((mapping + HugePage - 1) / HugePage * HugePage);
        Length = length;
        // Both are advice: without huge pages, or on a kernel before 5.14, writing the pattern faults the pages in one by one.
        _ = Madvise((nint)_start, (nuint)length, MadviseHugePage);
        _ = Madvise((nint)_start, (nuint)length, MadvisePopulateWrite);
        WritePattern();
    }

    /// <summary>Bytes of the buffer.</summary>
    public long Length { get; }

    /// <summary>Private memory.</summary>
    public static WarmBuffer Private(long length) => Map(length, MapPrivateAnonymous, -1);

    /// <summary>A mapping of shared memory, as a reader on the same host sees an arena.</summary>
    public static WarmBuffer Shared(long length)
    {
        var file = MemfdCreate("kvcache-bench", 0);
        if (file < 0)
            throw new Win32Exception(Marshal.GetLastPInvokeError(), "Shared memory could not be created.");
        try
        {
            if (Ftruncate(file, length + HugePage) < 0)
                throw new Win32Exception(Marshal.GetLastPInvokeError(), $"Shared memory of {length:N0} bytes could not be created.");
            return Map(length, MapShared, file);
        }
        finally
        {
            _ = Close(file);
        }
    }

    public Span<byte> Slice(long offset, int length)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset + length, Length);
        return new Span<byte>(_start + offset, length);
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _ = Munmap(_mapping, (nuint)_mapped);
    }

    private static WarmBuffer Map(long length, int flags, int file)
    {
        // One huge page more, so that the start can be aligned to one.
        var mapped = length + HugePage;
        var mapping = Mmap(0, (nuint)mapped, ReadWrite, flags, file, 0);
        if (mapping == -1)
            throw new Win32Exception(Marshal.GetLastPInvokeError(), $"{mapped:N0} bytes could not be mapped.");
        return new WarmBuffer(mapping, mapped, length);
    }

    private void WritePattern()
    {
        // Not zeros: neither same-page merging nor a compressing transport may make the bytes cheaper than real ones.
        var words = new Span<ulong>(_start, checked((int)(Length / sizeof(ulong))));
        var state = 0x9E3779B97F4A7C15UL;
        foreach (ref var word in words)
        {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word = state;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int Ftruncate(int file, long length);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int file);
}
