namespace KvCache.Eviction;

/// <summary>
/// Whether plain recency would hit more than what was learned: both run as shadows over one in eight blocks or fewer. Recency is
/// preferred only once its lead is beyond doubt, and only for as long as it leads.
/// </summary>
internal sealed class PolicyContest
{
    /// <summary>Fewest blocks of a shadow that say anything; a smaller store has no contest.</summary>
    public const int LeastShadow = 128;

    private const int MostShadow = 8192;
    private const double Fading = 1 - (1 / 4096.0); // by request
    private const double BeyondDoubt = 4; // standard deviations

    private readonly uint _sampling; // one of so many
    private readonly ShadowStore _learned;
    private readonly ShadowStore _recent;
    private ulong[] _sampled = new ulong[256];
    private double _lead;
    private double _variance;

    /// <param name="slots">Slots of the store.</param>
    /// <param name="learned">Makes the learned policy for a shadow of some slots.</param>
    public PolicyContest(int slots, Func<int, IEvictionPolicy> learned)
    {
        _sampling = (uint)Math.Max(8, (slots + MostShadow - 1) / MostShadow);
        var shadow = (int)(slots / _sampling);
        _learned = new ShadowStore(learned(shadow), shadow);
        _recent = new ShadowStore(new LruPolicy(shadow), shadow);
    }

    /// <summary>Whether recency hits more.</summary>
    public bool PrefersRecency { get; private set; }

    /// <summary>Shows both shadows a request. Allocates only where a chain is longer than all before it.</summary>
    /// <param name="chain">Fingerprints of all of its blocks.</param>
    /// <param name="use">The request.</param>
    public void Serve(ReadOnlySpan<ulong> chain, in ChainUse use)
    {
        if (chain.Length > _sampled.Length)
            _sampled = new ulong[2 * chain.Length];
        var count = 0;
        foreach (var fingerprint in chain)
        {
            if ((uint)fingerprint % _sampling == 0)
                _sampled[count++] = fingerprint;
        }

        if (count == 0)
            return;
        double lead = _recent.Serve(_sampled.AsSpan(0, count), use) - _learned.Serve(_sampled.AsSpan(0, count), use);
        _lead = (_lead * Fading) + lead;
        _variance = (_variance * Fading) + (lead * lead);
        PrefersRecency = PrefersRecency ? _lead > 0 : _lead > BeyondDoubt * Math.Sqrt(_variance + 1);
    }
}
