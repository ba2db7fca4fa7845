using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using KvCache.Silo.Supervision;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Persisting;
using KvCache.Silo.Tiers.Promoting;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Tiers;

/// <summary>
/// Block payloads in Redis: written behind, straight out of the arena, and read straight into it, verified. It outlives silos.
/// </summary>
/// <remarks>
/// <para>Nothing here blocks its caller, and no state of Redis makes an exception: a Redis that is slow, full, frozen or gone loses writes,
/// which are counted, and makes promotions misses. While it fails a circuit breaker leaves it alone and probes it.</para>
/// <para>Connections: one or a few for writes, for reads, and one for small commands, each with a thread of its own. Payloads never
/// share a connection with anything else.</para>
/// <para>Dispose it before the store: what waits to be written holds leases.</para>
/// </remarks>
internal sealed class RedisTier : IPayloadTier, IHostedService, ILiveFiles, IAsyncDisposable
{
    /// <summary>Longest life that is told to Redis and to the store, in milliseconds: ten years.</summary>
    internal const long LongestLife = 3650L * 24 * 60 * 60 * 1000;

    private const int StackBytes = 256 * 1024;

    private static readonly TimeSpan ThreadPause = TimeSpan.FromMilliseconds(100);

    // The default share of the arena that may wait to be written.
    private const int QueueShare = 8;

    private readonly RedisTierOptions _options;
    private readonly RedisTierCounters _counters;
    private readonly TimeProvider _time;
    private readonly RedisEndpoint _endpoint;
    private readonly RedisKeySpace _names;
    private readonly RedisHealth _health;
    private readonly PersistQueue _queue;
    private readonly long _maxQueuedBytes;
    private readonly PromotionTable _promotions;
    private readonly RedisControl _control;
    private readonly List<RedisLane> _lanes = [];
    private readonly List<Thread> _threads = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly RedisSearch _search;
    private readonly LoopHealth? _loops;
    private int _stopped;

    /// <summary>Prepares the tier; <see cref="StartAsync"/> starts its threads.</summary>
    /// <param name="store">Where blocks come from and go to.</param>
    /// <param name="lives">Lives that were set a moment ago.</param>
    /// <param name="options">Options; the connection string must not be empty.</param>
    /// <param name="counters">Receives what happens.</param>
    /// <param name="time">Clock of expiry.</param>
    /// <param name="logger">Log.</param>
    /// <param name="loops">Hears of threads that failed and go on; null for nobody.</param>
    /// <exception cref="FormatException">The connection string is wrong.</exception>
    public RedisTier(
        BlockStore store, RecentLives lives, IOptions<RedisTierOptions> options, RedisTierCounters counters, TimeProvider time,
        ILogger<RedisTier> logger, LoopHealth? loops = null)
    {
        _loops = loops;
        _options = options.Value;
        _counters = counters;
        _time = time;
        var endpoint = _endpoint = RedisEndpoint.Create(_options);
        var keys = Keys = _options.SealFile.Length > 0 ? PayloadKeys.Load($"{RedisTierOptions.Section}:SealFile", _options.SealFile) : null;
        _names = new RedisKeySpace(_options.KeyPrefix);
        _search = new RedisSearch(page => ScanAsync(page, _stopping.Token));
        _health = new RedisHealth(endpoint, _options, counters, logger);
        _maxQueuedBytes = _options.MaxQueuedBytes.Bytes > 0 ? _options.MaxQueuedBytes.Bytes : store.Arena.Capacity / QueueShare;
        _queue = new PersistQueue(_maxQueuedBytes, _options.MaxPendingChanges, _health, counters);
        _promotions = new PromotionTable(store, lives, _options.MaxQueuedReads);
        _control = new RedisControl(_queue, NewLane(0), _health, _names, keys, _options, counters, time, logger);
        _queue.ChangesReady = _health.Opened = _control.Wake;
        AddThread("control", _control.Run);
        var buffer = (int)_options.SocketBuffer.Bytes;
        for (var i = 0; i < _options.Writers; i++)
            AddThread("writer", new RedisWriter(_queue, NewLane(buffer), _names, keys, _options, counters, time, logger).Run);
        for (var i = 0; i < _options.Readers; i++)
            AddThread("reader", new RedisReader(_promotions, store, NewLane(buffer), _health, _names, keys, counters, time, logger).Run);
    }

    /// <summary>Keys that payloads are sealed with; null where they are not.</summary>
    public LiveFile<PayloadKeys>? Keys { get; }

    /// <inheritdoc/>
    public IEnumerable<ILiveFile> Files => Keys is null ? _endpoint.Files : _endpoint.Files.Append(Keys);

    /// <summary>Whether the circuit breaker is open: Redis failed and is left alone until a probe succeeds.</summary>
    public bool IsOpen => _health.IsOpen;

    /// <summary>Whether Redis has answered the last call or probe, as the master.</summary>
    public bool IsAvailable => _health.IsAvailable;

    /// <summary>Changes when the server turns out not to be the one that is wanted.</summary>
    public int Server => _health.Server;

    /// <summary>Says that a client beside the tier's own connections was told so.</summary>
    public void NotTheServer(string error) => _health.Failed(RedisException.OfReply(error));

    /// <summary>The latest failure in words, whenever that was; null when there was none.</summary>
    public string? LastError => _health.LastError;

    /// <summary>How the tier is.</summary>
    public RedisTierStatus GetStatus() => new()
    {
        Endpoint = _endpoint.Text,
        BreakerOpen = IsOpen,
        LastError = LastError,
        QueuedBytes = _counters.QueuedBytes,
        MaxQueuedBytes = _maxQueuedBytes,
        QueuedBlocks = _counters.QueuedBlocks,
        PendingChanges = _counters.PendingChanges,
        Dropped = _counters.GetDrops(),
    };

    /// <summary>Queues a block to be written, and takes over its lease.</summary>
    /// <param name="lease">The block. Released in the end, whatever that is.</param>
    /// <param name="completed">Receives the outcome, on any thread, perhaps before this returns. Must be quick and not throw.</param>
    public void Enqueue(BlockLease lease, Action<PersistOutcome>? completed = null) =>
        _queue.Add(new PersistItem(lease, Deadline.After(_options.MaxQueueTime), completed));

    /// <summary>Reads a block from Redis into the arena and makes it visible, with the generation that was stored.</summary>
    /// <param name="key">The block. However many ask for it at the same time, it is read once.</param>
    /// <param name="expected">Shape that it must have, as its namespace says; null for the one that was stored.</param>
    /// <param name="cancellationToken">Stops waiting; the promotion goes on.</param>
    /// <returns>The outcome, after <see cref="RedisTierOptions.ReadTimeout"/> at the latest, and a lease that the caller
    /// disposes.</returns>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public async Task<PromoteResult> PromoteAsync(BlockKey key, KvLayout? expected, CancellationToken cancellationToken = default)
    {
        if (_health.IsOpen)
            return Refuse(PromoteOutcome.Unavailable);

        // First join, then look for a deletion: one that comes later finds the promotion.
        var waiter = new PromotionWaiter(expected);
        if (!_promotions.TryJoin(key, _options.ReadTimeout, waiter))
            return Refuse(PromoteOutcome.Busy);
        if (_queue.IsDeleting(key))
            _promotions.Delete([key]);
        await using (
            cancellationToken.UnsafeRegister(static (w, token) => ((PromotionWaiter)w!).Cancel(token), waiter).ConfigureAwait(false))
            return await waiter.Result.ConfigureAwait(false);
    }

    /// <summary>
    /// Changes when the life of a block ends, earlier or later: of its payload in Redis, and of a write of it that waits or runs. The
    /// payload is not written anew. Memory, and what is on its way there, is the caller's to change (<see cref="RecentLives"/>).
    /// </summary>
    /// <param name="key">The block.</param>
    /// <param name="expiresAt">End of its life; when that has passed already, it is deleted.</param>
    /// <param name="cancellationToken">Stops waiting; the change goes on.</param>
    /// <returns>
    /// True when Redis has the block and it lives so long, false when it is not there or is being deleted. Null when Redis has not
    /// confirmed in time; the tier then goes on trying, unless too many changes wait.
    /// </returns>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public async Task<bool?> ExpireAsync(BlockKey key, DateTimeOffset expiresAt, CancellationToken cancellationToken = default)
    {
        var now = _time.GetUtcNow();
        if (expiresAt <= now)
            return await DeleteAsync([key], cancellationToken).ConfigureAwait(false) ? true : null;
        var end = Math.Min(expiresAt.ToUnixTimeMilliseconds(), now.ToUnixTimeMilliseconds() + LongestLife);
        if (_queue.Expire(key, end) is not { } change)
            return _queue.IsDeleting(key) ? false : null;
        return _health.IsOpen ? null : await WaitAsync(change.Applied, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Deletes payloads, and wins over writes and promotions of them that wait or run: when this call has returned its task, no
    /// promotion publishes them, and when the task is true, Redis does not have them and will not get them from earlier calls.
    /// </summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="cancellationToken">Stops waiting; the deletion goes on.</param>
    /// <returns>False when Redis has not confirmed it in time. The tier then goes on trying, unless too many deletions wait.</returns>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public Task<bool> DeleteAsync(IReadOnlyCollection<BlockKey> keys, CancellationToken cancellationToken = default)
    {
        if (keys.Count == 0)
            return Task.FromResult(true);
        var batch = new DeleteBatch(keys);
        var accepted = _queue.Delete(batch);
        _promotions.Delete(batch.Keys);
        return accepted && !_health.IsOpen ? WaitAsync(batch.Confirmed, cancellationToken) : Task.FromResult(false);
    }

    /// <summary>Whether a block waits to be written or read, or is just now.</summary>
    public bool IsUnderWay(BlockKey key) => _queue.IsUnderWay(key) || _promotions.IsUnderWay(key);

    /// <summary>Whether Redis has a payload under the key of a block; it is not looked into.</summary>
    /// <returns>Null when Redis does not answer.</returns>
    public Task<bool?> ExistsAsync(BlockKey key) => _queue.IsDeleting(key) ? Task.FromResult<bool?>(false) : _control.ExistsAsync(key);

    /// <summary>Makes the descriptor of a block live as long in Redis as its payload. It was written just now, with a life of its
    /// own.</summary>
    /// <returns>Null when Redis does not answer; false when there is no payload.</returns>
    internal Task<bool?> AlignDescriptorAsync(BlockKey key) => _control.AlignDescriptorAsync(key);

    /// <summary>Finds the payloads of all silos that share the key prefix, page by page, on a connection of its own.</summary>
    /// <param name="page">Receives what was found, on another thread. One block may come twice; blocks that come or go meanwhile may be
    /// missed.</param>
    /// <param name="cancellationToken">Stops between two pages.</param>
    /// <returns>Keys found.</returns>
    /// <exception cref="RedisException">Redis failed; what came before is right, and the scan may be begun anew.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled, or the tier was stopped.</exception>
    public Task<long> ScanAsync(Action<RedisScanPage> page, CancellationToken cancellationToken = default) =>
        Task.Factory.StartNew(
            () => Scan(page, cancellationToken), cancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <inheritdoc cref="RedisSearch.VisitAsync"/>
    public Task<bool> VisitAsync(
        Func<BlockKey, bool> isWanted, Action<List<BlockKey>> found, CancellationToken cancellationToken = default) =>
        _search.VisitAsync(isWanted, found, cancellationToken);

    /// <summary>Starts the threads; they connect when there is something to do.</summary>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var thread in _threads)
            thread.Start();
        return Task.CompletedTask;
    }

    /// <summary>Writes what waits, for at most <see cref="RedisTierOptions.DrainTimeout"/>, then ends connections and threads.</summary>
    public Task StopAsync(CancellationToken cancellationToken) =>
        Interlocked.Exchange(ref _stopped, 1) == 0 ? Task.Run(Stop, CancellationToken.None) : Task.CompletedTask;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None).ConfigureAwait(false);
        _stopping.Dispose();
    }

    private async Task<T?> WaitAsync<T>(Task<T> confirmed, CancellationToken cancellationToken)
    {
        try
        {
            // A write of the block that runs has to end first.
            return await confirmed.WaitAsync(_options.WriteTimeout + _options.CommandTimeout, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return default;
        }
    }

    private PromoteResult Refuse(PromoteOutcome outcome)
    {
        _counters.Promote(outcome);
        return new PromoteResult(outcome, null);
    }

    private long Scan(Action<RedisScanPage> page, CancellationToken cancellationToken)
    {
        using var lane = new RedisLane(_endpoint, 0, _options.ConnectTimeout, _health);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
        var keys = new List<BlockKey>();
        long found = 0;
        var total = lane.Run(
            Deadline.After(_options.CommandTimeout), connection => connection.CountKeys(Deadline.After(_options.CommandTimeout)));
        ulong cursor = 0;
        do
        {
            ending.Token.ThrowIfCancellationRequested();
            keys.Clear();
            var deadline = Deadline.After(_options.CommandTimeout);
            cursor = lane.Run(deadline, connection =>
            {
                keys.Clear();
                return connection.Scan(cursor, _names, _options.ScanPageSize, keys, deadline);
            });
            found += keys.Count;
            page(new RedisScanPage(keys, found, total));
        }
        while (cursor != 0);
        return found;
    }

    private void Stop()
    {
        var started = _threads.Where(thread => thread.IsAlive).ToList();
        if (started.Count > 0)
            _queue.Drain(Deadline.After(_options.DrainTimeout));
        _stopping.Cancel();
        _queue.Stop();
        _promotions.Stop();
        _control.Stop();
        _lanes.ForEach(lane => lane.Stop());
        started.ForEach(thread => thread.Join());
        _lanes.ForEach(lane => lane.Dispose());
    }

    // It returns when the tier stops; before, an exception would be the end of the process.
    private void KeepRunning(string name, Action run)
    {
        while (true)
        {
            try
            {
                run();
                return;
            }
            catch (Exception e)
            {
                _loops?.Failed($"The Redis tier's {name}", e);
                if (Volatile.Read(ref _stopped) != 0)
                    return;
                Thread.Sleep(ThreadPause);
            }
        }
    }

    private RedisLane NewLane(int buffer)
    {
        var lane = new RedisLane(_endpoint, buffer, _options.ConnectTimeout, _health);
        _lanes.Add(lane);
        return lane;
    }

    private void AddThread(string name, Action run) =>
        _threads.Add(new Thread(() => KeepRunning(name, run), StackBytes) { IsBackground = true, Name = $"kvcache redis {name}" });
}
