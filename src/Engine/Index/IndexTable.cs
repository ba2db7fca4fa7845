using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using KvCache.Hashing;

namespace KvCache.Engine.Index;

/// <summary>A block and who has it: one cache line.</summary>
[StructLayout(LayoutKind.Sequential, Size = Size)]
internal struct IndexEntry
{
    public const int Size = 64;

    public BlockKey Key;

    /// <summary>Mask of holders; 0 = the slot is free.</summary>
    public ulong Holders;

    /// <summary>Holders that named the block since their last replacement began.</summary>
    public ulong Marks;
}

/// <summary>
/// Slots of a hash table with linear probing. Homes are in the order of the hashes (multiply and shift, not a mask), so that
/// capacities need not be powers of two: growing by half keeps the slack below 121 bytes a block.
/// </summary>
/// <remarks>
/// The array is pinned, so that entries can be aligned with cache lines; it is managed, so that a reader that still probes a
/// table which was replaced meanwhile keeps it alive.
/// </remarks>
internal sealed class IndexTable
{
    public const int MinCapacity = 4;

    private readonly IndexEntry[] _entries;
    private readonly nint _aligned;

    public unsafe IndexTable(int capacity)
    {
        Capacity = capacity;
        _entries = GC.AllocateArray<IndexEntry>(capacity + 1, pinned: true);
        var address = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_entries));
        _aligned = -address & (IndexEntry.Size - 1);
    }

    public int Capacity { get; }

    /// <summary>Most entries: four fifths of the slots, where a hit takes three probes on average.</summary>
    public int MaxCount => (int)(Capacity * 4L / 5);

    public long Bytes => (long)_entries.Length * IndexEntry.Size;

    public ref IndexEntry this[int slot]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref Unsafe.Add(ref Unsafe.AddByteOffset(ref MemoryMarshal.GetArrayDataReference(_entries), _aligned), slot);
    }

    /// <summary>Slot of the key, or the complement of the free slot where it would go.</summary>
    /// <remarks>Ends after <see cref="Capacity"/> probes, whatever a writer does meanwhile.</remarks>
    public int Find(ref readonly BlockKey key, ulong hash)
    {
        var slot = Home(hash);
        for (var probes = 0; probes < Capacity; probes++)
        {
            ref var entry = ref this[slot];
            if (entry.Holders == 0)
                break;
            if (entry.Key.Hash == key.Hash && entry.Key.Namespace == key.Namespace)
                return slot;
            slot = Next(slot);
        }

        return ~slot;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe void Prefetch(ulong hash)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(Unsafe.AsPointer(ref this[Home(hash)]));
    }

    /// <summary>
    /// Frees a slot and moves what follows back (Knuth, The Art of Computer Programming 3, 6.4, algorithm R), so that no
    /// probe ever has to pass over the graves of removed keys.
    /// </summary>
    public void Free(int hole)
    {
        for (var slot = Next(hole); this[slot].Holders != 0; slot = Next(slot))
        {
            ref var entry = ref this[slot];
            if (Distance(Home(KeyHash.Of(in entry.Key)), slot) < Distance(hole, slot))
                continue;
            this[hole] = entry;
            hole = slot;
        }

        this[hole] = default;
    }

    public IndexTable Resized(int capacity)
    {
        var result = new IndexTable(capacity);
        for (var slot = 0; slot < Capacity; slot++)
        {
            ref var entry = ref this[slot];
            if (entry.Holders != 0)
                result[~result.Find(in entry.Key, KeyHash.Of(in entry.Key))] = entry;
        }

        return result;
    }

    private int Home(ulong hash) => (int)(((hash >> 32) * (ulong)Capacity) >> 32);

    private int Next(int slot) => slot + 1 == Capacity ? 0 : slot + 1;

    private int Distance(int from, int to) => to >= from ? to - from : to - from + Capacity;
}
