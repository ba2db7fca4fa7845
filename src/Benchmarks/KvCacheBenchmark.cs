using KvCache.Benchmarks.Strategies;
using KvCache.Client;

namespace KvCache.Benchmarks;

/// <summary>
/// Several inference nodes serve the same requests with one way of keeping KV after the other. Looking up, loading and storing are
/// measured; computing is modelled, so that no model and no GPU is needed.
/// </summary>
/// <remarks>Always there: <c>none</c>, and <c>local</c>, a cache in each process. With <see cref="BenchmarkOptions.Silos"/> also
/// <c>silo</c>, and <c>tiered</c>, a cache in each process before it.</remarks>
/// <param name="options">What is compared; null for the defaults.</param>
public sealed class KvCacheBenchmark(BenchmarkOptions? options = null)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly List<(string Name, Func<int, IKvCache> Open)> _others = [];

    /// <summary>What is compared.</summary>
    public BenchmarkOptions Options { get; } = options ?? new BenchmarkOptions();

    /// <summary>Compares one more.</summary>
    /// <param name="name">Name of its row.</param>
    /// <param name="open">Makes the cache of a node, by its number from 0 on. The benchmark disposes it.</param>
    public void Add(string name, Func<int, IKvCache> open)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(open);
        _others.Add((name, open));
    }

    /// <summary>Serves requests with every strategy.</summary>
    /// <param name="requests">In the order of time; of <see cref="Workload"/>, of <see cref="TraceRequest.Read"/>, or your own.</param>
    /// <param name="cancellationToken">Stops between requests.</param>
    /// <exception cref="ArgumentException">No request is left behind the first <see cref="BenchmarkOptions.Before"/>.</exception>
    public Task<BenchmarkReport> RunAllAsync(IReadOnlyList<TraceRequest> requests, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        if (requests.Count <= Options.Before)
            throw new ArgumentException(
                $"There are {requests.Count} requests, and counting begins behind {Options.Before}; more were expected.", nameof(requests));
        return Task.Run(() => Run(requests, cancellationToken), cancellationToken);
    }

    // One after the other, each begins with nothing and leaves nothing: two that are of one silo would share its memory.
    private BenchmarkReport Run(IReadOnlyList<TraceRequest> requests, CancellationToken cancellationToken)
    {
        var prices = new PriceModel(Options.PrefillTokensPerSecond, Options.PricePerHour, Options.PricePerGibHour);
        var prompts = requests.Select(request => request.Chain()).ToList();
        var most = prompts.Max(prompt => prompt.BlockCount);
        Memory<byte>[] targets = [.. Enumerable.Range(0, most).Select(_ => new Memory<byte>(new byte[Options.BlockBytes]))];
        ReadOnlyMemory<byte>[] sources = [.. Enumerable.Range(0, most).Select(_ => new ReadOnlyMemory<byte>(new byte[Options.BlockBytes]))];
        var rows = new List<BenchmarkRow>();
        foreach (var open in Strategies())
        {
            using var strategy = open();
            var run = new StrategyRun(strategy, prices, Options.BlockBytes, Options.Nodes, Options.Memory.Bytes / (double)(1 << 30));
            for (var i = 0; i < requests.Count; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var blocks = prompts[i].BlockCount;
                run.Serve(i % Options.Nodes, requests[i], prompts[i], targets[..blocks], sources[..blocks], counted: i >= Options.Before);
            }

            rows.Add(run.ToRow());
        }

        return new BenchmarkReport(requests.Count - Options.Before, rows);
    }

    private IEnumerable<Func<ICacheStrategy>> Strategies()
    {
        yield return () => new NoCache();
        yield return () => Of("local", _ => new LocalKvCache(Share(1)));
        if (Options.Silos.Count > 0)
        {
            yield return () => Of("silo", _ => Connect());
            yield return () => Of("tiered", _ => new TieredKvCache(new LocalKvCache(Share(4)), Connect()));
        }

        foreach (var (name, open) in _others)
            yield return () => Of(name, open);

        CacheStrategy Of(string name, Func<int, IKvCache> open) =>
            new PassingStrategy(name, CreateNamespace(), [.. Enumerable.Range(0, Options.Nodes).Select(open)]);

        ByteSize Share(int part) => new(Options.Memory.Bytes / Options.Nodes / part);
    }

    // Of this strategy in this run: what earlier ones left in a silo is none of it.
    private CacheNamespace CreateNamespace() => new()
    {
        Tenant = "default",
        Model = "benchmark",
        Salt = Guid.NewGuid().ToString("N"),
        Layout = KvLayout.Opaque([0, Options.BlockBytes], TraceRequest.TokensPerBlock),
    };

    private KvCacheClient Connect()
    {
        var client = new KvCacheClientOptions { MatchTimeout = Patience, LoadTimeout = Patience, StoreTimeout = Patience };
        foreach (var silo in Options.Silos)
            client.Endpoints.Add(silo);
        return new KvCacheClient(client);
    }

    /// <summary>Deletes what it has stored when it is done.</summary>
    private sealed class PassingStrategy(string name, CacheNamespace ns, IReadOnlyList<IKvCache> caches) : CacheStrategy(name, ns, caches)
    {
        public override void Dispose()
        {
            foreach (var cache in Caches)
                cache.ClearAsync(Namespace).AsTask().GetAwaiter().GetResult();
            base.Dispose();
        }
    }
}
