using System.Collections.Concurrent;

namespace KvCache.Engine.Wire;

/// <summary>Buffers of one size that do not move, kept for whoever needs one next.</summary>
/// <param name="bytes">Size of each.</param>
/// <param name="most">Buffers that are kept; more exist while more are in use.</param>
internal sealed class PinnedBuffers(int bytes, int most)
{
    private readonly ConcurrentBag<byte[]> _free = [];
    private int _count;

    /// <summary>For one TLS record of plain bytes.</summary>
    public static PinnedBuffers Records { get; } = new(16 * 1024, 256);

    /// <summary>
    /// For what one call of the kernel sends: large enough to make calls rare, small enough that the peer can decrypt the first half while
    /// the second is encrypted.
    /// </summary>
    public static PinnedBuffers Bulk { get; } = new(128 * 1024, 64);

    /// <summary>For a segment of a payload that is encrypted on its way.</summary>
    public static PinnedBuffers Segments { get; } = new(256 * 1024, 16);

    public byte[] Rent()
    {
        if (!_free.TryTake(out var buffer))
            return GC.AllocateUninitializedArray<byte>(bytes, pinned: true);
        Interlocked.Decrement(ref _count);
        return buffer;
    }

    public void Return(byte[] buffer)
    {
        if (Interlocked.Increment(ref _count) <= most)
            _free.Add(buffer);
        else
            Interlocked.Decrement(ref _count);
    }
}
