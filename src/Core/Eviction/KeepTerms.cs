using System.Runtime.CompilerServices;

namespace KvCache.Eviction;

/// <summary>
/// What a client asks of its blocks beyond what is learned of them: a priority, which multiplies what a block is worth, and a retention,
/// during which it goes last. In a byte, so that it can be a part of a block's class: no block pays for it.
/// </summary>
internal readonly record struct KeepTerms
{
    private const int Usual = 6; // of priorities 0, 10, … 100, counted from 1, that of 50
    private const int RetainedExponent = 60; // above all that scores and priorities come to
    private const float LeastWorth = 1e-12f; // what is retained is worth something

    private static readonly long[] Retentions =
    [
        0, Minutes(1), Minutes(2), Minutes(5), Minutes(10), Minutes(20), Minutes(30), Hours(1), Hours(2), Hours(4), Hours(8), Hours(12),
        Hours(24), Hours(48), Hours(96), Hours(168),
    ];

    private readonly byte _packed; // 0: nothing was said; else the priority, and the retention's number in the upper half

    private KeepTerms(int priority, int retention) => _packed = (byte)(priority | (retention << 4));

    /// <summary>The longest retention that there is: a week.</summary>
    public static TimeSpan LongestRetention { get; } = TimeSpan.FromMilliseconds(Retentions[^1]);

    /// <summary>Whether a client said anything.</summary>
    public bool IsTold => _packed != 0;

    /// <summary>The number by which classes know it: 0 for the usual.</summary>
    public byte Packed => _packed == Usual ? (byte)0 : _packed;

    /// <summary>Milliseconds of the retention; 0 for none.</summary>
    public long Retention => Retentions[_packed >> 4];

    /// <summary>Terms as a client tells them.</summary>
    /// <param name="priority">0 to 100, which counts in steps of ten; null when it tells none, which is 50.</param>
    /// <param name="retention">How long from the last use on, rounded up to one of 15 durations from a minute to a week; zero for
    /// none.</param>
    public static KeepTerms Of(int? priority, TimeSpan retention)
    {
        if (priority is null && retention <= TimeSpan.Zero)
            return default;
        var milliseconds = (long)Math.Min(retention.TotalMilliseconds, Retentions[^1]);
        var number = 0;
        while (Retentions[number] < milliseconds)
            number++;
        return new KeepTerms(1 + ((Math.Clamp(priority ?? 50, 0, 100) + 5) / 10), number);
    }

    /// <summary>The terms that <see cref="Packed"/> names.</summary>
    public static KeepTerms Unpack(byte packed) => Unsafe.BitCast<byte, KeepTerms>(packed);

    /// <summary>What is left of it for a block that is used again after some time: a retention that is over takes its priority with
    /// it.</summary>
    public KeepTerms After(long milliseconds) => Retention > 0 && !Retains(milliseconds) ? default : this;

    /// <summary>Whether a block that was not used for so long is retained.</summary>
    public bool Retains(long milliseconds) => milliseconds < Retention;

    /// <summary>What a block is worth with its priority, which makes it four times as much for ten points above 50.</summary>
    public float Weigh(float score, long age) =>
        _packed == 0 || (Retention > 0 && !Retains(age)) ? score : MathF.ScaleB(score, 2 * ((_packed & 15) - Usual));

    /// <summary>What puts the blocks of a store in order: what they are worth, the retained ones above all others.</summary>
    public float Order(float score, long age) =>
        Retains(age) ? MathF.ScaleB(Math.Max(Weigh(score, age), LeastWorth), RetainedExponent) : Weigh(score, age);

    private static long Minutes(int minutes) => minutes * 60_000L;

    private static long Hours(int hours) => hours * 3_600_000L;
}
