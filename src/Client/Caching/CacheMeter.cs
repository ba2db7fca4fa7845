using System.Diagnostics;
using KvCache.Client.Telemetry;

namespace KvCache.Client.Caching;

/// <summary>Counters of a cache, which tell those that listen too; every member is thread-safe.</summary>
/// <param name="tier">Kind of the cache, as telemetry names it.</param>
internal sealed class CacheMeter(string tier)
{
    private readonly long[] _misses = new long[Enum.GetValues<MissReason>().Length];
    private long _hits, _stored, _loadedBytes, _loadedTokens, _storedBytes;

    public LatencyHistogram Match { get; } = new();

    public LatencyHistogram Load { get; } = new();

    public LatencyHistogram Store { get; } = new();

    /// <summary>Counts a match. What it did not find is a miss, for a load asks only for what a match has found.</summary>
    public void Matched(int found, int wanted, MissReason reason, long began, string? error = null)
    {
        if (found < wanted)
            Interlocked.Add(ref _misses[(int)reason], wanted - found);
        var elapsed = Stopwatch.GetElapsedTime(began);
        Match.Record(elapsed);
        CacheSignals.Ended("match", tier, found, wanted, 0, reason, error, elapsed);
    }

    public void Loaded(LoadResult result, int wanted, KvLayout layout, LayerRange range, long began)
    {
        Interlocked.Add(ref _loadedTokens, (long)result.Blocks * layout.TokensPerBlock * range.Count / layout.Layers);
        Loaded(result, wanted, (long)result.Blocks * layout.RangeBytes(range), began);
    }

    /// <summary>Counts a load of what has no tokens.</summary>
    public void Loaded(LoadResult result, int wanted, long bytes, long began)
    {
        Interlocked.Add(ref _hits, result.Blocks);
        Interlocked.Add(ref _loadedBytes, bytes);
        if (result.Blocks < wanted)
            Interlocked.Add(ref _misses[(int)result.Reason], wanted - result.Blocks);
        var elapsed = Stopwatch.GetElapsedTime(began);
        Load.Record(elapsed);
        CacheSignals.Ended("load", tier, result.Blocks, wanted, bytes, result.Reason, result.Error, elapsed);
    }

    public void DidStore(StoreResult result, int wanted, int blockBytes, long began)
    {
        var bytes = (long)result.Stored * blockBytes;
        Interlocked.Add(ref _stored, result.Stored);
        Interlocked.Add(ref _storedBytes, bytes);
        var elapsed = Stopwatch.GetElapsedTime(began);
        Store.Record(elapsed);
        CacheSignals.Ended(
            "store", tier, result.Stored + result.AlreadyStored, wanted, bytes, result.Reason, result.Error, elapsed);
    }

    public void Reset()
    {
        foreach (ref var count in _misses.AsSpan())
            Volatile.Write(ref count, 0);
        Volatile.Write(ref _hits, 0);
        Volatile.Write(ref _stored, 0);
        Volatile.Write(ref _loadedBytes, 0);
        Volatile.Write(ref _loadedTokens, 0);
        Volatile.Write(ref _storedBytes, 0);
        Match.Reset();
        Load.Reset();
        Store.Reset();
    }

    public KvCacheStatistics Snapshot(long memoryBytes, string? lastError = null) => new()
    {
        Hits = Volatile.Read(ref _hits),
        Misses = Enum.GetValues<MissReason>().Where(reason => reason != MissReason.None)
            .ToDictionary(reason => reason, reason => Volatile.Read(ref _misses[(int)reason])),
        Stored = Volatile.Read(ref _stored),
        LoadedBytes = Volatile.Read(ref _loadedBytes),
        LoadedTokens = Volatile.Read(ref _loadedTokens),
        StoredBytes = Volatile.Read(ref _storedBytes),
        Match = Match.Summarize(),
        Load = Load.Summarize(),
        Store = Store.Summarize(),
        MemoryBytes = memoryBytes,
        LastError = lastError,
    };
}
