using System.Diagnostics;

namespace KvCache.Client.Caching;

/// <summary>Counters of a cache; every member is thread-safe and allocates nothing.</summary>
internal sealed class CacheMeter
{
    private readonly long[] _misses = new long[Enum.GetValues<MissReason>().Length];
    private long _hits, _stored, _loadedBytes, _storedBytes;

    public LatencyHistogram Match { get; } = new();

    public LatencyHistogram Load { get; } = new();

    public LatencyHistogram Store { get; } = new();

    /// <summary>Counts a match. What it did not find is a miss, for a load asks only for what a match has found.</summary>
    public void Matched(int found, int wanted, MissReason reason, long began)
    {
        if (found < wanted)
            Interlocked.Add(ref _misses[(int)reason], wanted - found);
        Match.Record(Stopwatch.GetElapsedTime(began));
    }

    public void Loaded(LoadResult result, int wanted, int blockBytes, long began)
    {
        Interlocked.Add(ref _hits, result.Blocks);
        Interlocked.Add(ref _loadedBytes, (long)result.Blocks * blockBytes);
        if (result.Blocks < wanted)
            Interlocked.Add(ref _misses[(int)result.Reason], wanted - result.Blocks);
        Load.Record(Stopwatch.GetElapsedTime(began));
    }

    public void DidStore(StoreResult result, int blockBytes, long began)
    {
        Interlocked.Add(ref _stored, result.Stored);
        Interlocked.Add(ref _storedBytes, (long)result.Stored * blockBytes);
        Store.Record(Stopwatch.GetElapsedTime(began));
    }

    public KvCacheStatistics Snapshot(long memoryBytes) => new()
    {
        Hits = Volatile.Read(ref _hits),
        Misses = Enum.GetValues<MissReason>().Where(reason => reason != MissReason.None)
            .ToDictionary(reason => reason, reason => Volatile.Read(ref _misses[(int)reason])),
        Stored = Volatile.Read(ref _stored),
        LoadedBytes = Volatile.Read(ref _loadedBytes),
        StoredBytes = Volatile.Read(ref _storedBytes),
        Match = Match.Summarize(),
        Load = Load.Summarize(),
        Store = Store.Summarize(),
        MemoryBytes = memoryBytes,
    };
}
