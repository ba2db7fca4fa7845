using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Files;

/// <summary>Files that somebody else names: a FIFO or a device in the place of one neither stops whoever reads it nor is read.</summary>
internal static partial class RegularFile
{
    /// <summary>More than any secret, key or list of certificates has.</summary>
    public const int MaxSecretBytes = 1 << 20;

    // Linux, on the architectures that .NET runs on.
    private const int ReadWrite = 2, NoTerminal = 0x100, NoWait = 0x800, CloseOnExecute = 0x80000;
    private const int EmptyPath = 0x1000, TypeAndMode = 3, SizeOfStat = 256, ModeOffset = 28;
    private const int TypeMask = 0xF000, Regular = 0x8000;
    private const int NotPermitted = 1, NotThere = 2, NoAccess = 13, NoFolder = 20;

    /// <summary>Opens a file; what is none is not waited for.</summary>
    /// <param name="path">Path.</param>
    /// <param name="writable">Whether it may be written.</param>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="IOException">It is no regular file, or it cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be opened.</exception>
    public static SafeFileHandle Open(string path, bool writable = false)
    {
        if (!OperatingSystem.IsLinux())
            return File.OpenHandle(
                path, FileMode.Open, writable ? FileAccess.ReadWrite : FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var number = Open(Path.GetFullPath(path), (writable ? ReadWrite : 0) | NoTerminal | NoWait | CloseOnExecute);
        if (number < 0)
        {
            var error = Marshal.GetLastPInvokeError();
            var text = $"'{path}' cannot be opened: {Marshal.GetPInvokeErrorMessage(error)}.";
            throw error switch
            {
                NotThere or NoFolder => new FileNotFoundException(text, path),
                NotPermitted or NoAccess => new UnauthorizedAccessException(text),
                _ => new IOException(text),
            };
        }

        var file = new SafeFileHandle(number, ownsHandle: true);
        if (TypeOf(number) is { } type and not "file")
        {
            file.Dispose();
            throw new IOException($"'{path}' is a {type}; a file was expected.");
        }

        return file;
    }

    /// <summary>Reads all of a file.</summary>
    /// <param name="path">Path.</param>
    /// <param name="limit">Most bytes.</param>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="IOException">It is no regular file, cannot be read, or is larger.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be opened.</exception>
    public static byte[] Read(string path, int limit)
    {
        using var file = Open(path);

        // Some files of the kernel say that they have no bytes, and a file may grow.
        var bytes = new byte[Math.Min(RandomAccess.GetLength(file), limit) + 1];
        for (var read = 0; ;)
        {
            var more = RandomAccess.Read(file, bytes.AsSpan(read), read);
            if (more == 0)
                return bytes[..read];
            read += more;
            if (read > limit)
                throw new IOException($"'{path}' has more than {limit:N0} bytes; that is too large.");
            if (read == bytes.Length)
                Array.Resize(ref bytes, (int)Math.Min(bytes.Length * 2L, limit + 1L));
        }
    }

    /// <summary>Writes a file in one step: whoever is interrupted leaves the old one. Nothing that lies there is written through.</summary>
    /// <param name="path">Path.</param>
    /// <param name="bytes">All of it.</param>
    /// <param name="mode">Who may open it; null for what the process gives to new files.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written to.</exception>
    public static void Replace(string path, ReadOnlySpan<byte> bytes, UnixFileMode? mode = null)
    {
        var next = path + ".new";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows() && mode is not null)
            options.UnixCreateMode = mode;
        File.Delete(next);
        using (var file = new FileStream(next, options))
        {
            file.Write(bytes);
            file.Flush(flushToDisk: true);
        }

        File.Move(next, path, overwrite: true);
    }

    // Null where the kernel does not say it.
    private static unsafe string? TypeOf(int file)
    {
        var stat = stackalloc byte[SizeOfStat];
        if (StatX(file, "", EmptyPath, TypeAndMode, stat) != 0)
            return null;
        return (*(ushort*)(stat + ModeOffset) & TypeMask) switch
        {
            Regular => "file",
            0x1000 => "FIFO",
            0x4000 => "folder",
            0x2000 or 0x6000 => "device",
            0xC000 => "socket",
            _ => "thing of another kind",
        };
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int StatX(int folder, string path, int flags, uint mask, byte* stat);
}
