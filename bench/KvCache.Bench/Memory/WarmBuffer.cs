using System.ComponentModel;
using System.Runtime.InteropServices;
using KvCache.Engine.Storage;

namespace KvCache.Bench.Memory;

/// <summary>
/// Unmanaged memory whose pages exist before anything is measured. The first touch of a page costs up to a hundred times what copying
/// it costs; a benchmark that touches fresh pages measures the kernel's (on a virtual machine, the host's) page faults instead.
/// </summary>
internal sealed unsafe partial class WarmBuffer : IDisposable
{
    private const int MadviseHugePage = 14;
    private const int MadvisePopulateWrite = 23;

    /// <summary>Bytes of the smallest buffer that is of any use.</summary>
    public const long LeastBytes = 4096;

    private readonly byte* _start;
    private bool _disposed;

    private WarmBuffer(nint start, long length)
    {
        _start = (byte*)start;
        Length = length;
        // Both are advice: without huge pages, or on a kernel before 5.14, writing the pattern faults the pages in one by one.
        _ = Madvise((nint)_start, (nuint)length, MadviseHugePage);
        _ = Madvise((nint)_start, (nuint)length, MadvisePopulateWrite);
        WritePattern();
    }

    /// <summary>Bytes of the buffer.</summary>
    public long Length { get; }

    /// <summary>Private memory.</summary>
    public static WarmBuffer Private(long length) => Map(length, AlignedMapping.PrivateMemory, -1);

    /// <summary>A mapping of shared memory, as a reader on the same host sees an arena.</summary>
    public static WarmBuffer Shared(long length)
    {
        var file = MemfdCreate("kvcache-bench", 0);
        if (file < 0)
            throw new Win32Exception(Marshal.GetLastPInvokeError(), "Shared memory could not be created.");
        try
        {
            if (Ftruncate(file, length) < 0)
                throw new Win32Exception(Marshal.GetLastPInvokeError(), $"Shared memory of {length:N0} bytes could not be created.");
            return Map(length, AlignedMapping.Shared, file);
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
        AlignedMapping.Unmap((nint)_start, Length);
    }

    private static WarmBuffer Map(long length, int flags, int file)
    {
        var start = AlignedMapping.Map(length, AlignedMapping.Read | AlignedMapping.Write, flags, file);
        return start != -1
            ? new WarmBuffer(start, length)
            : throw new Win32Exception(Marshal.GetLastPInvokeError(), $"{length:N0} bytes could not be mapped.");
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

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int Ftruncate(int file, long length);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int file);
}
