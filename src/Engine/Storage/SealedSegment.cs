using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Engine.Storage;

/// <summary>
/// Memory that a silo lends to a client of the same machine, who writes blocks into it. Its size is sealed (<c>memfd_create</c> with
/// <c>F_SEAL_SHRINK</c>): a client that could cut it off would kill the silo that reads it.
/// </summary>
internal sealed partial class SealedSegment : IDisposable
{
    private const int CloseOnExec = 1, AllowSealing = 2, AddSeals = 1033, SealSeal = 1, SealShrink = 2, SealGrow = 4;

    private readonly SafeFileHandle _file;
    private readonly SharedArena _memory;

    private SealedSegment(SafeFileHandle file, SharedArena memory)
    {
        _file = file;
        _memory = memory;
    }

    /// <summary>Size in bytes.</summary>
    public long Bytes => _memory.Bytes;

    /// <summary>Where processes of the same user and PID namespace open it, as long as this object lives.</summary>
    public string Path => PathOf(_file);

    /// <summary>Creates a segment.</summary>
    /// <exception cref="IOException">The host has no memory for it, or does not know sealed files.</exception>
    public static SealedSegment Create(long bytes)
    {
        var descriptor = MemfdCreate("kvcache-segment", CloseOnExec | AllowSealing);
        if (descriptor < 0)
            throw new IOException($"A segment of shared memory cannot be created: {Marshal.GetLastPInvokeErrorMessage()}.");
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        try
        {
            if (Fallocate(descriptor, 0, 0, bytes) != 0 || Fcntl(descriptor, AddSeals, SealSeal | SealShrink | SealGrow) != 0)
                throw new IOException(
                    $"A segment of {bytes:N0} bytes of shared memory cannot be reserved: {Marshal.GetLastPInvokeErrorMessage()}.");
            return new SealedSegment(file, SharedArena.Open(PathOf(file), bytes));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that the client has written, and may be writing: copy them before they are judged.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is outside.</exception>
    public ReadOnlySpan<byte> Read(long offset, int length) => _memory.Read(offset, length);

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory.Dispose();
        _file.Dispose();
    }

    private static string PathOf(SafeFileHandle file) => $"/proc/{Environment.ProcessId}/fd/{file.DangerousGetHandle()}";

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, int flags);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(int file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(int file, int command, int argument);
}
