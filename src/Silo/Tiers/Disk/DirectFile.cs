using System.Runtime.InteropServices;
using KvCache.Engine.Wire;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// A file that is written and read in whole pages, many pieces of memory a call, past the system's cache where the file system lets it
/// (<c>O_DIRECT</c>, open(2)): what the arena keeps need not be kept a second time.
/// </summary>
/// <remarks>Memory, offsets and lengths are multiples of <see cref="DiskSegment.PageBytes"/>.</remarks>
internal sealed partial class DirectFile : IDisposable
{
    // Linux, on the architectures that .NET runs on.
    private const int ReadWrite = 2, CreateNew = 0x40 | 0x80, CloseOnExecute = 0x80000;
    private const int Interrupted = 4, InvalidArgument = 22, NoSuchCall = 38, NotSupported = 95, MostPieces = 1024;

    private readonly SafeFileHandle _file;
    private readonly string _path;

    private DirectFile(SafeFileHandle file, string path, bool isDirect)
    {
        _file = file;
        _path = path;
        IsDirect = isDirect;
    }

    /// <summary>Whether the system's cache is bypassed.</summary>
    public bool IsDirect { get; }

    /// <summary>Bytes of the file.</summary>
    public long Length => RandomAccess.GetLength(_file);

    private static int Direct => RuntimeInformation.ProcessArchitecture is Architecture.Arm64 ? 0x10000 : 0x4000;

    /// <summary>Makes a file, with room for all of its bytes.</summary>
    /// <exception cref="IOException">It is there, or the disk is full, read-only or gone.</exception>
    public static DirectFile Create(string path, long bytes, bool direct)
    {
        var file = Open(path, ReadWrite | CreateNew, direct);
        try
        {
            // A full disk is noticed now, and not in the middle of a block. Where the file system knows no reservation, it is then.
            if (OperatingSystem.IsLinux() && Fallocate(file._file, 0, 0, bytes) != 0
                && Marshal.GetLastPInvokeError() is not (NotSupported or InvalidArgument or NoSuchCall))
                throw new IOException($"'{path}' cannot have {bytes:N0} bytes: {Marshal.GetLastPInvokeErrorMessage()}.");
            return file;
        }
        catch
        {
            file.Dispose();
            File.Delete(path);
            throw;
        }
    }

    /// <summary>Opens a file that is there.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static DirectFile Open(string path, bool direct) => Open(path, ReadWrite, direct);

    /// <summary>Writes pieces one after the other.</summary>
    /// <exception cref="IOException">The disk failed; how much is written is unknown.</exception>
    public void Write(Span<UnmanagedPiece> pieces, long offset) => Move(pieces, offset, write: true);

    /// <summary>Reads pieces one after the other. The pieces are changed.</summary>
    /// <exception cref="IOException">The disk failed, or the file ends before.</exception>
    public void Read(Span<UnmanagedPiece> pieces, long offset) => Move(pieces, offset, write: false);

    /// <summary>Cuts a file off behind what was written, and waits until the disk has it.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Finish(long length)
    {
        RandomAccess.SetLength(_file, length);
        RandomAccess.FlushToDisk(_file);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static DirectFile Open(string path, int flags, bool direct)
    {
        if (!OperatingSystem.IsLinux())
        {
            var isNew = (flags & CreateNew) != 0;
            return new DirectFile(
                File.OpenHandle(
                    path, isNew ? FileMode.CreateNew : FileMode.Open, FileAccess.ReadWrite,
                    FileShare.ReadWrite | FileShare.Delete),
                path, isDirect: false);
        }

        var number = Open(path, flags | CloseOnExecute | (direct ? Direct : 0), 0x180); // 0600
        if (number < 0 && direct && Marshal.GetLastPInvokeError() == InvalidArgument)
        {
            direct = false;
            if ((flags & CreateNew) != 0)
                File.Delete(path); // made, and then refused
            number = Open(path, flags | CloseOnExecute, 0x180);
        }

        return number >= 0
            ? new DirectFile(new SafeFileHandle(number, ownsHandle: true), path, direct)
            : throw new IOException($"'{path}' cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}.");
    }

    private unsafe void Move(Span<UnmanagedPiece> pieces, long offset, bool write)
    {
        while (!pieces.IsEmpty)
        {
            nint moved;
            if (OperatingSystem.IsLinux())
            {
                fixed (UnmanagedPiece* first = pieces)
                {
                    var count = Math.Min(pieces.Length, MostPieces);
                    moved = write ? WriteV(_file, first, count, offset) : ReadV(_file, first, count, offset);
                }

                if (moved < 0 && Marshal.GetLastPInvokeError() == Interrupted)
                    continue;
            }
            else
            {
                var bytes = new Span<byte>((void*)pieces[0].Start, (int)pieces[0].Length);
                if (write)
                    RandomAccess.Write(_file, bytes, offset);
                moved = write ? bytes.Length : RandomAccess.Read(_file, bytes, offset);
            }

            if (moved < 0)
                throw new IOException($"'{_path}' cannot be {(write ? "written" : "read")}: {Marshal.GetLastPInvokeErrorMessage()}.");
            if (moved == 0)
                throw new IOException($"'{_path}' ends at {offset:N0}; more was expected.");
            offset += moved;
            for (; !pieces.IsEmpty && moved >= pieces[0].Length; pieces = pieces[1..])
                moved -= pieces[0].Length;
            if (moved > 0)
                pieces[0] = pieces[0].Skip(moved);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    private static unsafe partial nint WriteV(SafeFileHandle file, UnmanagedPiece* pieces, int count, long offset);

    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    private static unsafe partial nint ReadV(SafeFileHandle file, UnmanagedPiece* pieces, int count, long offset);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(SafeFileHandle file, int mode, long offset, long length);
}
