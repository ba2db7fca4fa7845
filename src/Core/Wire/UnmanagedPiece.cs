using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCache.Wire;

/// <summary>A run of bytes that does not move: part of a leased block, or pinned.</summary>
/// <param name="Start">Address.</param>
/// <param name="Length">Number of bytes.</param>
public readonly record struct UnmanagedPiece(nint Start, int Length)
{
    /// <summary>The piece that a span covers. The span must lie outside the GC heap or be pinned, and its memory stay until the piece is used.</summary>
    public static unsafe UnmanagedPiece Of(ReadOnlySpan<byte> bytes) => new((nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(bytes)), bytes.Length);
}
