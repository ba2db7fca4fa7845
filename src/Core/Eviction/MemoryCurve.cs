namespace KvCache.Eviction;

/// <summary>What a store of another size would hit.</summary>
/// <param name="Times">Its size, as a multiple of the present one.</param>
/// <param name="HitRatio">Blocks found by blocks asked for, 0 to 1.</param>
internal readonly record struct MemoryEstimate(double Times, double HitRatio);

/// <summary>
/// A live estimate of what more or less memory would hit: stores of several sizes that evict the least recently used, over a sample of all
/// blocks by fingerprint (spatial sampling as in SHARDS, Waldspurger et al., FAST 2015). Its memory is bounded, whatever the store's size.
/// </summary>
internal sealed class MemoryCurve
{
    private const int MostSampled = 4096; // blocks of the largest
    private const double Fading = 1 - (1 / 16_384.0); // by request

    private static readonly double[] Times = [0.5, 1, 2, 4];

    private readonly uint _sampling; // one of so many
    private readonly ShadowStore[] _shadows;
    private readonly double[] _hits = new double[Times.Length];
    private double _asked;
    private ulong[] _sampled = new ulong[256];

    /// <param name="blocks">Blocks that the store holds now.</param>
    public MemoryCurve(int blocks)
    {
        _sampling = (uint)Math.Max(1, (blocks * Times[^1] / MostSampled) + 0.999);
        _shadows = Array.ConvertAll(Times, times =>
        {
            var slots = (int)Math.Max(1, Math.Round(blocks * times / _sampling));
            return new ShadowStore(new LruPolicy(slots), slots);
        });
    }

    /// <summary>The estimates, the smallest size first; none while nothing was asked for.</summary>
    public IReadOnlyList<MemoryEstimate> Estimates => _asked < 1
        ? []
        : [.. Times.Select((times, i) => new MemoryEstimate(times, Math.Clamp(_hits[i] / _asked, 0, 1)))];

    /// <summary>Shows it a request, or a part of one. What a request asks for twice counts once.</summary>
    /// <param name="chain">Fingerprints of its blocks.</param>
    /// <param name="use">The request.</param>
    /// <param name="isPut">Whether it brings the blocks.</param>
    public void Serve(ReadOnlySpan<ulong> chain, in ChainUse use, bool isPut)
    {
        if (chain.Length > _sampled.Length)
            _sampled = new ulong[2 * chain.Length];
        var count = 0;
        foreach (var fingerprint in chain)
        {
            if ((uint)(fingerprint >> 8) % _sampling == 0)
                _sampled[count++] = fingerprint;
        }

        if (count == 0)
            return;
        var repeated = 0;
        for (var i = 0; i < _shadows.Length; i++)
            _hits[i] = (_hits[i] * Fading) + _shadows[i].Serve(_sampled.AsSpan(0, count), use, isPut, out repeated);
        _asked = (_asked * Fading) + count - repeated;
    }
}
