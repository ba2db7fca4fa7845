using System.Runtime.InteropServices;
using KvCache.Files;
using Microsoft.Win32.SafeHandles;

namespace KvCache.Engine.Storage;

/// <summary>
/// Another process's memory as this one sees it: the arena of a silo of the same machine, read-only, or a segment in which blocks are
/// handed to it.
/// </summary>
/// <remarks>
/// What is mapped is what the other process has at any moment: bytes of a block are its bytes only while a lease on it is held.
/// </remarks>
internal sealed class SharedArena : SafeHandleZeroOrMinusOneIsInvalid
{
    private SharedArena(string path, nint address, long bytes)
        : base(ownsHandle: true)
    {
        Path = path;
        Bytes = bytes;
        SetHandle(address);
    }

    /// <summary>The file that was mapped.</summary>
    public string Path { get; }

    /// <summary>Size in bytes.</summary>
    public long Bytes { get; }

    /// <summary>Maps a file.</summary>
    /// <param name="path">Path of the file.</param>
    /// <param name="bytes">Its size, as its owner said.</param>
    /// <param name="writable">Whether it may be written.</param>
    /// <exception cref="IOException">It cannot be opened or mapped, or is smaller than that.</exception>
    /// <exception cref="UnauthorizedAccessException">It belongs to another user.</exception>
    public static SharedArena Open(string path, long bytes, bool writable = false)
    {
        using var file = RegularFile.Open(path, writable);
        var length = RandomAccess.GetLength(file);
        if (bytes < 1 || length < bytes)
            throw new IOException($"The shared memory '{path}' has {length:N0} bytes; {bytes:N0} were expected.");
        var address =
            AlignedMapping.Map(
            bytes, writable
            ? AlignedMapping.Read | AlignedMapping.Write
            : AlignedMapping.Read, AlignedMapping.Shared, (int)file.DangerousGetHandle());
        return address != -1
            ? new SharedArena(path, address, bytes)
            : throw new IOException($"The shared memory '{path}' cannot be mapped: {Marshal.GetLastPInvokeErrorMessage()}.");
    }

    /// <summary>A range of the memory. Valid until this object is disposed.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is outside.</exception>
    public ReadOnlySpan<byte> Read(long offset, int length) => Range(offset, length);

    /// <summary>A range of memory that was mapped to be written. Valid until this object is disposed.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is outside.</exception>
    public Span<byte> Write(long offset, int length) => Range(offset, length);

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => AlignedMapping.Unmap(handle, Bytes);

    private unsafe Span<byte> Range(long offset, int length)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        if (offset < 0 || length < 0 || offset > Bytes - length)
            throw new ArgumentOutOfRangeException(
                nameof(offset), $"The range {offset}+{length} lies outside the shared memory of {Bytes} bytes.");
        return new Span<byte>((byte*)handle + offset, length);
    }
}
