using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Engine.Wire;

/// <summary>
/// Sends bytes by lending their pages to the kernel (<c>vmsplice</c> into a pipe, <c>splice</c> from there to the socket) instead of
/// copying them: the one copy that is left is the receiver's.
/// </summary>
/// <remarks>
/// Until the peer has answered, the kernel may read the bytes again: they must stay where they are, and as they are. Small runs are copied,
/// so their memory may be reused at once. Used by the thread that owns the connection.
/// </remarks>
internal sealed unsafe partial class PagePipe : IDisposable
{
    /// <summary>Shorter runs are copied: lending pages has a price of its own.</summary>
    public const int LeastLent = 32 * 1024;

    /// <summary>Bytes that are certain to fit, in at most <see cref="MaxParts"/> runs.</summary>
    public const int Capacity = 256 * 1024;

    /// <summary>Runs that are certain to fit.</summary>
    public const int MaxParts = 16;

    // A slot of the pipe holds a page or a piece of one: a run that does not begin with a page has one piece more.
    private const int Slots = (Capacity / PageBytes) + (2 * MaxParts);
    private const int PageBytes = 4096;

    private const int CloseOnExec = 0x80000, SetPipeSize = 1031, Interrupted = 4;

    private readonly SafeFileHandle _read, _write;

    private PagePipe(SafeFileHandle read, SafeFileHandle write) => (_read, _write) = (read, write);

    /// <summary>A pipe, or null where the system has none for this process: its limit for pipes is reached, or calls are
    /// filtered.</summary>
    public static PagePipe? TryCreate()
    {
        if (!OperatingSystem.IsLinux())
            return null;
        var ends = stackalloc int[2];
        if (CreatePipe(ends, CloseOnExec) != 0)
            return null;
        var pipe = new PagePipe(new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
        if (Control(pipe._write, SetPipeSize, Slots * PageBytes) >= Slots * PageBytes && pipe.Works())
            return pipe;
        pipe.Dispose();
        return null;
    }

    /// <summary>Hands runs of bytes to a socket, at most <see cref="MaxParts"/> and <see cref="Capacity"/> bytes, and blocks until it has
    /// them.</summary>
    /// <returns>Bytes sent.</returns>
    /// <exception cref="SocketException">The connection broke or was aborted.</exception>
    public long Send(Socket socket, ReadOnlySpan<UnmanagedPiece> parts)
    {
        nint bytes = 0;
        foreach (var part in parts)
        {
            Fill(part);
            bytes += part.Length;
        }

        for (var left = bytes; left > 0;)
            left -= Check(Splice(_read, null, socket.SafeHandle, null, left, 0));
        return bytes;
    }

    public void Dispose()
    {
        _read.Dispose();
        _write.Dispose();
    }

    private void Fill(UnmanagedPiece part)
    {
        while (part.Length > 0)
            part = part.Skip(Check(part.Length < LeastLent ? Write(_write, (byte*)part.Start, part.Length) : Lend(_write, &part, 1, 0)));
    }

    // A sandbox may know pipes and not these calls.
    private bool Works()
    {
        var page = stackalloc byte[1];
        var part = new UnmanagedPiece((nint)page, 1);
        return Lend(_write, &part, 1, 0) == 1 && Read(_read, page, 1) == 1;
    }

    private static nint Check(nint result)
    {
        if (result > 0)
            return result;
        var error = Marshal.GetLastPInvokeError();
        return result < 0 && error == Interrupted
            ? 0
            : throw new SocketException(
                (int)SocketError.ConnectionReset, $"The bytes could not be sent: {Marshal.GetPInvokeErrorMessage(error)}.");
    }

    [LibraryImport("libc", EntryPoint = "pipe2", SetLastError = true)]
    private static partial int CreatePipe(int* ends, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(SafeHandle file, int command, int value);

    [LibraryImport("libc", EntryPoint = "vmsplice", SetLastError = true)]
    private static partial nint Lend(SafeHandle pipe, UnmanagedPiece* parts, nint count, int flags);

    [LibraryImport("libc", EntryPoint = "splice", SetLastError = true)]
    private static partial nint Splice(SafeHandle from, long* fromOffset, SafeHandle to, long* toOffset, nint bytes, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(SafeHandle pipe, byte* start, nint bytes);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(SafeHandle pipe, byte* start, nint bytes);
}
