namespace KvCache;

/// <summary>Shorter forms of the calls of <see cref="IKvCache"/>.</summary>
public static class KvCacheExtensions
{
    /// <summary>How much of a token sequence is stored.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="ns">Namespace of the tokens.</param>
    /// <param name="tokens">Token ids.</param>
    /// <param name="hold">Time that the found blocks are kept from eviction; zero only looks.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    public static ValueTask<CacheMatch> MatchAsync(
        this IKvCache cache, CacheNamespace ns, ReadOnlySpan<int> tokens, TimeSpan hold = default,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cache);
        return cache.MatchAsync(KvPrefix.Of(ns, tokens), hold, cancellationToken);
    }
}
