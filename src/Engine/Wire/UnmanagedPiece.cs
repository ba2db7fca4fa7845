using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCache.Engine.Wire;

/// <summary>A run of bytes that does not move: part of a leased block, or pinned. <c>struct iovec</c> of Linux, 64 bit.</summary>
/// <param name="Start">Address.</param>
/// <param name="Length">Number of bytes.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct UnmanagedPiece(nint Start, nint Length)
{
    /// <summary>The piece that a span covers. The span must lie outside the GC heap or be pinned, and its memory stay until the piece is
    /// used.</summary>
    public static unsafe UnmanagedPiece Of(ReadOnlySpan<byte> bytes) =>
        new((nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(bytes)), bytes.Length);

    /// <summary>What is left behind the first bytes.</summary>
    public UnmanagedPiece Skip(nint bytes) => new(Start + bytes, Length - bytes);
}
