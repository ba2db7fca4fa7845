using System.Buffers.Binary;

namespace KvCache.Chaos.Fuzz;

/// <summary>Changes valid input in ways that have broken parsers: bits, numbers at the edges of their types, cuts, repeats, other inputs'
/// parts.</summary>
internal sealed class Mutator(int seed)
{
    private static readonly ulong[] Edges =
    [
        0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 1023, 1024, 1025, 4095, 4096, 16_383, 16_384, 16_385, 65_535, 65_536,
        1 << 20, (1 << 20) + 1, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1UL << 32, 1UL << 40, long.MaxValue, 1UL << 63,
        ulong.MaxValue,
    ];

    private readonly Random _dice = new(seed);

    public Random Dice => _dice;

    /// <summary>One of the numbers at which code goes wrong.</summary>
    public ulong Edge() => Edges[_dice.Next(Edges.Length)];

    /// <summary>A changed copy.</summary>
    /// <param name="input">What is valid.</param>
    /// <param name="other">Another valid input, of which parts are taken.</param>
    public byte[] Mutate(ReadOnlySpan<byte> input, ReadOnlySpan<byte> other)
    {
        var bytes = new List<byte>(input.Length + 64);
        bytes.AddRange(input);
        for (var times = 1 + _dice.Next(3); times > 0; times--)
            MutateOnce(bytes, other);
        return [.. bytes];
    }

    private void MutateOnce(List<byte> bytes, ReadOnlySpan<byte> other)
    {
        if (bytes.Count == 0)
        {
            bytes.Add((byte)_dice.Next(256));
            return;
        }

        var at = _dice.Next(bytes.Count);
        switch (_dice.Next(9))
        {
            case 0:
                bytes[at] ^= (byte)(1 << _dice.Next(8));
                break;
            case 1:
                bytes[at] = (byte)_dice.Next(256);
                break;
            case 2 or 3:
                Overwrite(bytes, at, Edge(), 1 << _dice.Next(4));
                break;
            case 4:
                bytes.RemoveRange(at, bytes.Count - at);
                break;
            case 5:
                var length = Math.Min(1 + _dice.Next(32), bytes.Count - at);
                bytes.RemoveRange(at, length);
                break;
            case 6:
                var piece = bytes.GetRange(at, Math.Min(1 + _dice.Next(32), bytes.Count - at));
                bytes.InsertRange(_dice.Next(bytes.Count + 1), piece);
                break;
            case 7:
                var random = new byte[1 + _dice.Next(16)];
                _dice.NextBytes(random);
                bytes.InsertRange(at, random);
                break;
            default:
                if (other.IsEmpty)
                    break;
                var from = _dice.Next(other.Length);
                bytes.InsertRange(at, other.Slice(from, Math.Min(1 + _dice.Next(48), other.Length - from)).ToArray());
                break;
        }
    }

    // In either order of bytes.
    private void Overwrite(List<byte> bytes, int at, ulong number, int width)
    {
        Span<byte> whole = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(whole, number);
        whole = whole[..width];
        if (_dice.Next(4) == 0)
            whole.Reverse();
        for (var i = 0; i < width && at + i < bytes.Count; i++)
            bytes[at + i] = whole[i];
    }
}
