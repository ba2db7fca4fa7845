using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Engine.Storage;

/// <summary>
/// A range of memory outside the garbage-collected heap: a mapping of a shared file, or private memory.
/// </summary>
/// <remarks>
/// Pages are committed in steps by <see cref="Commit"/>, which fails with an exception where an ordinary touch of a full
/// tmpfs would kill the process. Fresh pages are slow (13 µs each were measured on a virtual machine), so they are
/// touched before use and kept.
/// </remarks>
internal sealed partial class NativeMapping : SafeHandleZeroOrMinusOneIsInvalid
{
    private const int MadviseHugePage = 14, MadvisePopulateWrite = 23, MadviseDontDump = 16;

    private readonly SafeFileHandle? _file;
    private readonly FileStream? _guard;
    private readonly long _length;

    private NativeMapping(nint address, long length, SafeFileHandle? file, FileStream? guard)
        : base(ownsHandle: true)
    {
        _length = length;
        _file = file;
        _guard = guard;
        SetHandle(address);
    }

    public nint Address => handle;

    public static NativeMapping CreatePrivate(long length, bool hugePages)
    {
        if (!OperatingSystem.IsLinux())
        {
            unsafe
            {
                return new NativeMapping((nint)NativeMemory.AlignedAlloc((nuint)length, 4096), length, null, null);
            }
        }

        var address = AlignedMapping.Map(length, AlignedMapping.Read | AlignedMapping.Write, AlignedMapping.PrivateMemory, -1);
        if (address == -1)
            throw Failure($"Mapping {length:N0} bytes of private memory failed");
        return new NativeMapping(address, length, null, null).Advised(hugePages);
    }

    /// <summary>The file beside a shared one whose lock says that a process has it.</summary>
    public static string LockOf(string path) => path + ".lock";

    public static NativeMapping CreateShared(string path, long length, bool hugePages)
    {
        if (!OperatingSystem.IsLinux())
            throw new PlatformNotSupportedException("A shared arena file needs Linux; leave the arena path empty to use private memory.");

        FileStream? guard = null;
        SafeFileHandle file;
        try
        {
            // The lock lies beside the arena, not on it, so that readers may open the arena. A second silo with the same
            // path is told; what a killed silo left behind is not locked and is taken over.
            guard = new FileStream(LockOf(path), new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                Options = FileOptions.DeleteOnClose,
            });
            File.Delete(path);
            using var stream = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                Share = FileShare.ReadWrite,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
            stream.SetLength(length);
            file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            guard?.Dispose();
            throw new IOException(
                $"The arena file '{path}' cannot be created: {e.Message} Every silo needs a writable path of its own.", e);
        }

        var address =
            AlignedMapping.Map(length, AlignedMapping.Read | AlignedMapping.Write, AlignedMapping.Shared, (int)file.DangerousGetHandle());
        if (address == -1)
        {
            var failure = Failure($"Mapping {length:N0} bytes of '{path}' failed");
            file.Dispose();
            guard.Dispose();
            throw failure;
        }

        return new NativeMapping(address, length, file, guard).Advised(hugePages);
    }

    /// <summary>Makes a range usable: reserves it in the file and touches every page.</summary>
    /// <exception cref="IOException">The host has no memory left for it; nothing before the range is affected.</exception>
    public void Commit(long offset, long length)
    {
        if (!OperatingSystem.IsLinux())
        {
            unsafe
            {
                NativeMemory.Clear((byte*)handle + offset, (nuint)length);
            }

            return;
        }

        if (_file is not null && Fallocate((int)_file.DangerousGetHandle(), 0, offset, length) != 0)
            throw Failure($"Reserving {length:N0} bytes of the arena file failed");
        if (Madvise(handle + (nint)offset, (nuint)length, MadvisePopulateWrite) == 0)
            return;

        // Kernels before 5.14 do not know the call. Private pages can still be touched; a file's were reserved above.
        if (Marshal.GetLastPInvokeError() != 22)
            throw Failure($"Touching {length:N0} bytes of arena memory failed");
        unsafe
        {
            for (var page = offset; page < offset + length; page += 4096)
                Volatile.Write(ref *((byte*)handle + page), 0);
        }
    }

    /// <summary>Moves a range that was committed into huge pages, where the host has them.</summary>
    public void UseHugePages(long offset, long length)
    {
        if (OperatingSystem.IsLinux())
            AlignedMapping.Collapse(handle + (nint)offset, length);
    }

    protected override bool ReleaseHandle()
    {
        if (OperatingSystem.IsLinux())
        {
            var unmapped = AlignedMapping.Unmap(handle, _length);
            _file?.Dispose();
            _guard?.Dispose();
            return unmapped;
        }

        unsafe
        {
            NativeMemory.AlignedFree((void*)handle);
        }

        return true;
    }

    private NativeMapping Advised(bool hugePages)
    {
        // All are requests: a host without huge pages for this kind of memory refuses, and nothing is lost.
        MemoryNodes.Interleave(handle, _length);
        if (hugePages)
            _ = Madvise(handle, (nuint)_length, MadviseHugePage);
        _ = Madvise(handle, (nuint)_length, MadviseDontDump);
        return this;
    }

    private static IOException Failure(string what) =>
        new($"{what}: {Marshal.GetLastPInvokeErrorMessage()}. Lower the arena size or free memory on the host.");

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(int file, int mode, long offset, long length);
}
