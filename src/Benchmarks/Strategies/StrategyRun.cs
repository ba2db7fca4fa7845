using System.Diagnostics;

namespace KvCache.Benchmarks.Strategies;

/// <summary>One strategy over the requests so far: what it found and how long it took.</summary>
/// <param name="strategy">The strategy.</param>
/// <param name="prices">What things cost.</param>
/// <param name="blockBytes">Bytes of a block.</param>
/// <param name="nodes">Nodes that share the requests.</param>
/// <param name="memoryGib">Memory of all caches together, where there are any.</param>
internal sealed class StrategyRun(ICacheStrategy strategy, PriceModel prices, int blockBytes, int nodes = 1, double memoryGib = 0)
{
    private readonly List<double> _firstTokens = [];
    private long _hits, _blocks, _tokens;
    private double _busy;

    public string Name => strategy.Name;

    /// <summary>Time to the first token of every request, in milliseconds: looking up and loading as measured, computing the rest as
    /// modelled.</summary>
    public IReadOnlyList<double> FirstTokens => _firstTokens;

    /// <summary>Share of the blocks that were loaded instead of computed.</summary>
    public double HitRate => _blocks == 0 ? 0 : (double)_hits / _blocks;

    /// <summary>Requests that a node finishes the prompts of in a second, storing included.</summary>
    public double Throughput => _firstTokens.Count / (_busy / 1000);

    /// <summary>MiB that came out of caches.</summary>
    public double LoadedMib => Mib(_hits);

    /// <summary>MiB that went into caches: whatever was computed, as what is computed anew may be stored anew.</summary>
    public double StoredMib => strategy.Moves ? Mib(_blocks - _hits) : 0;

    /// <summary>Requests whose cache failed; they were computed whole.</summary>
    public int Errors { get; private set; }

    public double CostPerMillionTokens => prices.PerMillionTokens(_busy, _tokens, nodes, strategy.Moves ? memoryGib : 0);

    /// <summary>What it found, for a report.</summary>
    public BenchmarkRow ToRow() => new(
        Name, HitRate, Milliseconds(0.5), Milliseconds(0.95), Milliseconds(0.99), Throughput, (long)(LoadedMib * (1 << 20)),
        (long)(StoredMib * (1 << 20)), Errors, CostPerMillionTokens);

    /// <summary>Time to the first token that this share of the requests did not exceed (nearest rank).</summary>
    public double FirstToken(double share)
    {
        double[] sorted = [.. _firstTokens.Order()];
        return sorted[Math.Clamp((int)Math.Ceiling(share * sorted.Length), 1, sorted.Length) - 1];
    }

    /// <summary>Serves a request.</summary>
    /// <param name="node">The node that got it.</param>
    /// <param name="request">The request.</param>
    /// <param name="prompt">Its full blocks.</param>
    /// <param name="destinations">Memory for blocks that are loaded.</param>
    /// <param name="sources">Bytes of blocks that are stored.</param>
    /// <param name="counted">False while caches fill.</param>
    public void Serve(
        int node, TraceRequest request, PrefixChain prompt, IReadOnlyList<Memory<byte>> destinations,
        IReadOnlyList<ReadOnlyMemory<byte>> sources, bool counted = true)
    {
        var began = Stopwatch.GetTimestamp();
        var loaded = Try(() => strategy.Load(node, prompt, destinations), counted);
        var loading = Stopwatch.GetElapsedTime(began).TotalMilliseconds;

        // The last token is always computed: without it there are no logits to choose the next one by.
        var cached = Math.Min(loaded * TraceRequest.TokensPerBlock, request.InputLength - 1);
        var first = loading + prices.PrefillMilliseconds(request.InputLength - cached);
        began = Stopwatch.GetTimestamp();
        Try(
            () =>
            {
                strategy.Store(node, prompt, loaded, sources);
                return 0;
            }, counted);
        if (!counted)
            return;
        _busy += first + Stopwatch.GetElapsedTime(began).TotalMilliseconds;
        _firstTokens.Add(first);
        _hits += loaded;
        _blocks += prompt.BlockCount;
        _tokens += request.InputLength;
    }

    // A broken connection is an error of the strategy, which goes on without; anything else is one of this program.
    private int Try(Func<int> call, bool counted)
    {
        try
        {
            return call();
        }
        catch (IOException)
        {
            Errors += counted ? 1 : 0;
            return 0;
        }
    }

    private TimeSpan Milliseconds(double share) => TimeSpan.FromMilliseconds(FirstToken(share));

    private double Mib(long blocks) => blocks * (double)blockBytes / (1 << 20);
}
