using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Deletes all blocks of namespaces, in the background: a namespace may have millions of blocks, and those in Redis are found by looking
/// through all of its keys. Whoever asks waits as long as a call may take, and is told how far it has come.
/// </summary>
/// <remarks>
/// One round at a time runs, for all namespaces that wait for one: the same namespace is never cleared twice at once, and a tenant that
/// clears without end costs others the wait for a round. What a round could not confirm, because Redis or a silo was away, waits for the
/// next one, until nothing is left. It is forgotten when this silo ends.
/// </remarks>
internal sealed partial class NamespaceClears(
    BlockStore store, BlockDirectory directory, RedisBlocks redis, IClusterBlocks cluster, ILogger<NamespaceClears> logger)
    : ILoop, IDisposable
{
    // Of a tenant, those that are being cleared included.
    private const int MaxWaiting = 1024;

    private const int DeletedAtOnce = 1024;

    // What becomes known of while others are deleted is found by the next look.
    private const int Looks = 3;

    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(15);

    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _news = new(0);
    private readonly Dictionary<NamespaceId, Clear> _waiting = [];
    private Dictionary<NamespaceId, Clear> _running = [];

    /// <summary>Deletes all blocks of a namespace that are stored now.</summary>
    /// <param name="ns">The namespace.</param>
    /// <param name="patience">How long to wait for the end.</param>
    /// <returns>How far it has come. Not at all when too many namespaces of the tenant are being cleared: ask again later.</returns>
    public async Task<DeleteResult> ClearAsync(NamespaceId ns, TimeSpan patience)
    {
        Clear? clear;
        lock (_lock)
        {
            if (!_waiting.TryGetValue(ns, out clear))
            {
                if (_waiting.Keys.Concat(_running.Keys).Count(other => other.Tenant == ns.Tenant) >= MaxWaiting)
                    return default;
                _waiting.Add(ns, clear = new Clear());
                _news.Release();
            }
        }

        await ((Task)clear.Done.Task).WaitAsync(patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return new DeleteResult(clear.Deleted, clear.Done.Task is { IsCompletedSuccessfully: true, Result: true });
    }

    /// <inheritdoc/>
    public async Task RunAsync(CancellationToken stoppingToken)
    {
        var pause = FirstPause;
        while (!stoppingToken.IsCancellationRequested)
        {
            var isRetry = _waiting.Count > 0;
            await _news.WaitAsync(isRetry ? pause : Timeout.InfiniteTimeSpan, stoppingToken).ConfigureAwait(false);
            while (_news.Wait(0, stoppingToken))
            {
                // All that is new belongs to this round.
            }

            lock (_lock)
            {
                _running = new(_waiting);
                _waiting.Clear();
            }

            try
            {
                await RoundAsync(_running, stoppingToken).ConfigureAwait(false);
            }
            finally
            {
                pause = End() ? FirstPause : TimeSpan.FromTicks(Math.Min(pause.Ticks * 2, LongestPause.Ticks));
            }
        }
    }

    public void Dispose() => _news.Dispose();

    private bool End()
    {
        var (done, left) = (0, 0);
        lock (_lock)
        {
            foreach (var (ns, clear) in _running)
            {
                if (clear.IsConfirmed)
                {
                    done++;
                    clear.Done.TrySetResult(true);
                }
                else if (!_waiting.TryAdd(ns, clear))
                {
                    clear.Done.TrySetResult(false); // whoever asked again goes on
                }
                else
                {
                    left++;
                }
            }

            _running = [];
        }

        if (left > 0)
            LogLeft(left);
        return done > 0 || left == 0;
    }

    private async Task RoundAsync(Dictionary<NamespaceId, Clear> clears, CancellationToken cancellationToken)
    {
        foreach (var (ns, clear) in clears)
        {
            clear.HasUnconfirmed = false;
            directory.AnnounceForgotten(ns.Tenant, store.NewGeneration());
        }

        await DeleteKnownAsync(clears, cancellationToken).ConfigureAwait(false);
        var isWhole = await redis.VisitAsync(
            key => clears.ContainsKey(key.Namespace),
            keys => DeleteAsync(keys, clears, cancellationToken).GetAwaiter().GetResult(), // the scan has a thread of its own
            cancellationToken).ConfigureAwait(false);
        for (var look = 1; look < Looks && await DeleteKnownAsync(clears, cancellationToken).ConfigureAwait(false); look++)
        {
            // There was something new.
        }

        foreach (var clear in clears.Values)
            clear.IsConfirmed = isWhole && !clear.HasUnconfirmed;
    }

    // A part of the index at a time: what is known of a namespace may be most of it.
    private async Task<bool> DeleteKnownAsync(Dictionary<NamespaceId, Clear> clears, CancellationToken cancellationToken)
    {
        var keys = new List<BlockKey>();
        var found = false;
        for (var cursor = 0; directory.Index.ReadKeys(clears.ContainsKey, ref cursor, keys);)
        {
            found |= keys.Count > 0;
            if (keys.Count < DeletedAtOnce)
                continue; // each deletion asks every silo
            await DeleteAsync(keys, clears, cancellationToken).ConfigureAwait(false);
            keys.Clear();
        }

        await DeleteAsync(keys, clears, cancellationToken).ConfigureAwait(false);
        return found;
    }

    private async Task DeleteAsync(List<BlockKey> keys, Dictionary<NamespaceId, Clear> clears, CancellationToken cancellationToken)
    {
        foreach (var some in keys.Chunk(DeletedAtOnce))
        {
            var outcomes = await cluster.DeleteAsync(some, cancellationToken).ConfigureAwait(false);
            for (var i = 0; i < some.Length; i++)
            {
                var clear = clears[some[i].Namespace];
                if (outcomes[i] == ItemOutcome.Done)
                    clear.Deleted++;
                clear.HasUnconfirmed |= outcomes[i] == ItemOutcome.Unconfirmed;
            }
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "{Namespaces} namespaces are not cleared yet: Redis, or a silo, did not answer; it is tried again until they are")]
    private partial void LogLeft(int namespaces);

    private sealed class Clear
    {
        private volatile int _deleted;

        public TaskCompletionSource<bool> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        // Written by the round alone.
        public int Deleted
        {
            get => _deleted;
            set => _deleted = value;
        }

        public bool HasUnconfirmed { get; set; }

        public bool IsConfirmed { get; set; }
    }
}
