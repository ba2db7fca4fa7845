using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers;

/// <summary>
/// Looks for the blocks of namespaces in Redis. Each look goes through all keys, so that one at a time runs, for all who ask: whoever
/// comes while one is under way shares the next. However often a tenant asks, Redis has one scan to bear.
/// </summary>
/// <param name="scan">Goes through all keys.</param>
internal sealed class NamespaceSearch(Func<Action<RedisScanPage>, Task> scan)
{
    private readonly Lock _lock = new();
    private Round? _next; // not begun
    private Task _last = Task.CompletedTask;

    /// <summary>The blocks of a namespace.</summary>
    /// <returns>Those that were found until Redis did not answer any more.</returns>
    public async Task<IReadOnlyCollection<BlockKey>> FindAsync(NamespaceId ns, CancellationToken cancellationToken)
    {
        Round round;
        Task done;
        lock (_lock)
        {
            round = _next ??= new Round();
            round.Found.TryAdd(ns, []);
            done = _last = round.Done ??= RunAsync(round, _last);
        }

        await done.WaitAsync(cancellationToken).ConfigureAwait(false);
        return round.Found[ns];
    }

    private async Task RunAsync(Round round, Task before)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_lock)
            _next = null; // who asks from now on would miss what has gone by
        try
        {
            await scan(page =>
            {
                foreach (var key in page.Keys)
                {
                    if (round.Found.TryGetValue(key.Namespace, out var keys))
                        keys.Add(key);
                }
            }).ConfigureAwait(false);
        }
        catch (RedisException)
        {
            // the health of the tier says it
        }
    }

    private sealed class Round
    {
        public Dictionary<NamespaceId, List<BlockKey>> Found { get; } = [];

        public Task? Done { get; set; }
    }
}
