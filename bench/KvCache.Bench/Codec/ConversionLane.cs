using System.Runtime.InteropServices;
using KvCache.Bench.Measuring;
using KvCache.Bench.Memory;

namespace KvCache.Bench.Codec;

/// <summary>float32 to the 16-bit types and back in warm memory beyond the caches, beside a copy. Each counts the bytes that it reads and
/// those that it writes.</summary>
internal sealed class ConversionLane : IDisposable
{
    /// <summary>Bytes of the float32 elements.</summary>
    public const int Bytes = 64 << 20;

    private const string Copy = "convert.memcpy";

    private readonly WarmBuffer _wide = WarmBuffer.Private(Bytes);
    private readonly WarmBuffer _target = WarmBuffer.Private(Bytes);
    private readonly WarmBuffer _narrow = WarmBuffer.Private(Bytes / 2);

    public ConversionLane()
    {
        // Numbers, not noise: a float32 of random bits is beyond float16 most of the time.
        var random = new Random(1);
        foreach (ref var single in Wide)
            single = (random.NextSingle() * 8) - 4;
        ElementConversion.SingleToBFloat16(Wide, MemoryMarshal.Cast<byte, ushort>(Narrow));
    }

    private Span<float> Wide => MemoryMarshal.Cast<byte, float>(_wide.Slice(0, Bytes));

    private Span<float> Target => MemoryMarshal.Cast<byte, float>(_target.Slice(0, Bytes));

    private Span<byte> Narrow => _narrow.Slice(0, Bytes / 2);

    /// <summary>A copy of the float32 elements, and the four conversions.</summary>
    public IReadOnlyList<IContender> Contenders() =>
    [
        new RateContender(Copy, [], 2L * Bytes, () => Wide.CopyTo(Target)),
        Conversion("float32.bf16", () => ElementConversion.SingleToBFloat16(Wide, MemoryMarshal.Cast<byte, ushort>(Narrow))),
        Conversion("bf16.float32", () => ElementConversion.BFloat16ToSingle(MemoryMarshal.Cast<byte, ushort>(Narrow), Target)),
        Conversion("float32.fp16", () => ElementConversion.SingleToFloat16(Wide, MemoryMarshal.Cast<byte, Half>(Narrow))),
        Conversion("fp16.float32", () => ElementConversion.Float16ToSingle(MemoryMarshal.Cast<byte, Half>(Narrow), Target)),
    ];

    public void Dispose()
    {
        _wide.Dispose();
        _target.Dispose();
        _narrow.Dispose();
    }

    private static RateContender Conversion(string name, Action pass) => new($"convert.{name}", [Copy], Bytes * 3L / 2, pass);
}
