using System.Runtime.InteropServices;

namespace KvCache.Chaos.Load;

/// <summary>
/// The bytes of an entry: a head that says what they are, and words that derive from the seed of the run, the entry, the block and the
/// version, so that any wrong byte is found, whatever block, place or time it comes from.
/// </summary>
internal sealed class SeededContent(long seed)
{
    private const ulong Magic = 0x4B_43_53_4F_41_48_43_4B, Step = 0x9E3779B97F4A7C15;
    private const int HeadWords = 3;

    /// <summary>Writes the bytes of a version; lengths are multiples of 8 and at least 32.</summary>
    public void Fill(Span<byte> bytes, int entry, int block, int version)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (var i = 0; i < words.Length; i++)
            words[i] = Word(entry, block, version, i);
    }

    /// <summary>The version whose bytes these are, each of them; 0 where they are no version's.</summary>
    public int VersionOf(ReadOnlySpan<byte> bytes, int entry, int block)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        if (words.Length <= HeadWords || bytes.Length % sizeof(ulong) != 0 || words[2] is 0 or > int.MaxValue)
            return 0;
        return IsVersion(bytes, 0, entry, block, (int)words[2]) ? (int)words[2] : 0;
    }

    /// <summary>Whether bytes from an offset on, a multiple of 8, are those of a version.</summary>
    public bool IsVersion(ReadOnlySpan<byte> bytes, int offset, int entry, int block, int version)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (var i = 0; i < words.Length; i++)
        {
            if (words[i] != Word(entry, block, version, (offset / sizeof(ulong)) + i))
                return false;
        }

        return true;
    }

    private ulong Word(int entry, int block, int version, int index) => index switch
    {
        0 => Magic ^ (ulong)seed,
        1 => ((ulong)(uint)entry << 32) | (uint)block,
        2 => (ulong)version,
        _ => (((ulong)seed * 31) + ((ulong)(uint)entry << 40) + ((ulong)(uint)block << 24) + ((ulong)(uint)version << 50)
            ^ (ulong)(uint)version ^ ((ulong)index << 8)) * Step,
    };
}
