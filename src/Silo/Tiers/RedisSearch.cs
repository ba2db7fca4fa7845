using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers;

/// <summary>
/// Looks for blocks in Redis by what their keys say. Each look goes through all keys, so that one at a time runs, for all who ask: whoever
/// comes while one is under way shares the next. However often a tenant asks, Redis has one scan to bear.
/// </summary>
/// <param name="scan">Goes through all keys.</param>
internal sealed class RedisSearch(Func<Action<RedisScanPage>, Task> scan)
{
    private readonly Lock _lock = new();
    private Round? _next; // not begun
    private Task _last = Task.CompletedTask;

    /// <summary>Visits blocks.</summary>
    /// <param name="isWanted">Which ones. Called for every key of Redis.</param>
    /// <param name="found">Receives them, page by page, on another thread; the scan waits for it.</param>
    /// <param name="cancellationToken">Ends the visit; the scan goes on for others.</param>
    /// <returns>False when Redis did not answer to the end; what came before is right.</returns>
    public async Task<bool> VisitAsync(Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken)
    {
        var visit = new Visit(isWanted, found, cancellationToken);
        Task<bool> done;
        lock (_lock)
        {
            var round = _next ??= new Round();
            round.Visits.Add(visit);
            _last = done = round.Done ??= RunAsync(round, _last);
        }

        var isWhole = await done.WaitAsync(cancellationToken).ConfigureAwait(false);
        return visit.Failure is null ? isWhole : throw visit.Failure;
    }

    private async Task<bool> RunAsync(Round round, Task before)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_lock)
            _next = null; // who asks from now on would miss what has gone by
        try
        {
            await scan(page => round.Visits.ForEach(visit => visit.See(page.Keys))).ConfigureAwait(false);
            return true;
        }
        catch (RedisException)
        {
            return false; // the health of the tier says it
        }
    }

    private sealed class Round
    {
        public List<Visit> Visits { get; } = [];

        public Task<bool>? Done { get; set; }
    }

    private sealed class Visit(Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken)
    {
        private readonly List<BlockKey> _keys = [];

        public Exception? Failure { get; private set; }

        public void See(IReadOnlyCollection<BlockKey> keys)
        {
            if (Failure is not null || cancellationToken.IsCancellationRequested)
                return;
            try
            {
                _keys.AddRange(keys.Where(isWanted));
                if (_keys.Count > 0)
                    found(_keys);
            }
            catch (Exception e)
            {
                Failure = e; // the others go on
            }
            finally
            {
                _keys.Clear();
            }
        }
    }
}
