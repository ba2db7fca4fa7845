using System.Diagnostics;
using System.Globalization;
using KvCache.Engine.Index;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Promoting;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// The disk below the arena: blocks that are about to be evicted go there, and come back when they are read. What it has counts as held by
/// this silo. It outlives the silo.
/// </summary>
/// <remarks>
/// <para>Eviction never waits for it. A thread lets blocks go a little ahead of need and writes them, while others write into memory; when
/// they are faster than the disk, the rest is evicted as without one.</para>
/// <para>No state of the disk is an exception: one that is full, slow or gone loses writes and makes reads misses, and a circuit breaker
/// leaves it alone. docs/disk.md has the format, and why it is so.</para>
/// </remarks>
internal sealed partial class DiskTier : IColderTier, IHostedService, IDisposable
{
    private const int StackBytes = 256 * 1024;
    private const int BatchBytes = 8 << 20;
    private const int AheadBytes = 4 << 20;
    private const int MostAtOnce = 1024;
    private const int MostDrained = 128;

    // What ends sooner is not worth a write.
    private static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan SavePause = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan JournalPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan RoomPatience = TimeSpan.FromMilliseconds(100);

    private readonly DiskOptions _options;
    private readonly BlockStore _store;
    private readonly BlockDirectory _directory;
    private readonly DiskCounters _counters;
    private readonly IDiskTrust _trust;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly DiskHealth _reading, _writable;
    private readonly WearBudget _wear;
    private readonly LiveFile<PayloadKeys>? _keys;
    private readonly DiskFolder _folder;
    private readonly DiskJournal _journal;
    private readonly DiskIndex _index;
    private readonly SegmentWriter _writer;
    private readonly PromotionTable _promotions;
    private readonly List<DiskReader> _readers = [];
    private readonly List<Thread> _threads = [];
    private readonly AutoResetEvent _wake = new(false);
    private readonly List<DiskBlock> _taken = [];
    private readonly List<BlockLease> _takenLeases = [];
    private readonly Lock _writing = new(); // around all that writes segments
    private readonly object _room = new(); // pulsed when memory was freed
    private volatile bool _stopping;
    private volatile int _isShort;
    private long _lastTaken, _savedAt;

    /// <summary>Takes the folder; <see cref="StartAsync"/> begins to use it.</summary>
    /// <exception cref="IOException">The folder cannot be used; the message is a sentence.</exception>
    public DiskTier(
        BlockStore store, BlockDirectory directory, RecentLives lives, IDiskTrust trust, IOptions<DiskOptions> options,
        IOptions<ClusterOptions> cluster, IOptions<RedisTierOptions> redis, DiskCounters counters, TimeProvider time,
        ILogger<DiskTier> logger)
    {
        _options = options.Value;
        _store = store;
        _directory = directory;
        _counters = counters;
        _trust = trust;
        _time = time;
        _logger = logger;
        if (_options.Encrypt)
        {
            var file = redis.Value.SealFile.Length > 0
                ? redis.Value.SealFile
                : throw new IOException(
                    $"{DiskOptions.Section}:Encrypt is on, and {RedisTierOptions.Section}:SealFile is empty; the file with the keys was "
                    + "expected.");
            _keys = PayloadKeys.Load($"{RedisTierOptions.Section}:SealFile", file);
        }

        var owner = _options.Owner.Length > 0 ? _options.Owner : $"{cluster.Value.Name}/{Environment.MachineName}";
        _folder = DiskFolder.Open(_options.Path, owner, _options.Direct);
        CheckRoom();
        _reading = new DiskHealth(DiskWay.Reading, _options, counters, time, logger);
        _writable = new DiskHealth(DiskWay.Writing, _options, counters, time, logger);
        _wear = new WearBudget(_options.WritesPerDay * _options.Size.Bytes, time);
        _journal = new DiskJournal(GiveUp);
        _index = new DiskIndex(_journal, time);
        _writer = new SegmentWriter(_folder, _index, store, _options, _keys, counters, Forget);
        _promotions = new PromotionTable(store, lives, _options.MaxQueuedReads);
        counters.Watch(_index, store, _reading, _writable, _options.Size.Bytes);
        directory.Colder = this;
        directory.UnderWay.Add(_index.IsDoubtful);
        store.RunsShort = () =>
        {
            if (Interlocked.Exchange(ref _isShort, 1) == 0)
                _wake.Set();
        };
        AddThread("writer", Run);
        for (var i = 0; i < _options.Readers; i++)
        {
            var reader = new DiskReader(
                _promotions, store, _index, _reading, _keys, counters, _options.ReadTimeout, time, WaitForRoom, Damaged, logger);
            _readers.Add(reader);
            AddThread("reader", reader.Run);
        }
    }

    /// <summary>How the tier is.</summary>
    public DiskStatus GetStatus() => new()
    {
        Path = _options.Path,
        SizeBytes = _options.Size.Bytes,
        UsedBytes = _index.Bytes,
        Blocks = _index.Count,
        BlockBytes = _index.LiveBytes,
        Segments = _index.Segments,
        WrittenBytes = _counters.WrittenBytes,
        WritesPerDay = _counters.WritesPerDay(_options.Size.Bytes),
        ReadBlocks = _counters.PromotesWith(PromoteOutcome.Promoted),
        ReadBytes = _counters.ReadBytes,
        IsLeftAlone = _reading.IsOpen || _writable.IsOpen,
        IsTrusted = _index.IsTrusted,
        LastError = _writable.LastError ?? _reading.LastError,
    };

    /// <inheritdoc/>
    public bool Has(BlockKey key) => _index.Find(key) is not null;

    /// <inheritdoc/>
    public bool TryTake(BlockLease lease, bool wasReused)
    {
        var outcome = Consider(lease, wasReused);
        if (outcome != DemoteOutcome.Written)
        {
            _counters.Demote(outcome);
            return false;
        }

        var block = new DiskBlock(lease.Key, lease.Generation, lease.Layout, lease.Lineage, lease.Durability)
        {
            ExpiresAt = lease.ExpiresAt?.ToUnixTimeMilliseconds() ?? 0,
        };
        _index.Add(block);

        // Looked at behind that: who deletes it either finds it now, or is seen here.
        if (!_directory.MayPublish(lease.Key, lease.Generation))
        {
            _index.Drop(block);
            _counters.Demote(DemoteOutcome.Deleted);
            return false;
        }

        _taken.Add(block);
        _takenLeases.Add(lease);
        return true;
    }

    /// <inheritdoc/>
    public void Replaced(BlockKey key, ulong generation) => _index.DropOther(key, generation);

    /// <inheritdoc/>
    public bool Bury(BlockKey key, ulong stamp) => _index.Bury(key, stamp);

    /// <inheritdoc/>
    public bool Wait()
    {
        if (!_index.IsLoaded || _folder.HasUndeleted)
            return false; // another start would find it
        if (_journal.Wait(JournalPatience))
            return true;
        _writable.Failed($"what was deleted could not be written down within {JournalPatience.TotalSeconds:0} s");
        return false;
    }

    /// <summary>Sets the life of a block from now on; <see cref="Wait"/> tells when it is written down.</summary>
    /// <returns>Whether it is on the disk.</returns>
    public bool SetLife(BlockKey key, TimeSpan timeToLive)
    {
        var now = _time.GetUtcNow();
        return _index.SetLife(key, timeToLive < DateTimeOffset.MaxValue - now ? (now + timeToLive).ToUnixTimeMilliseconds() : 0);
    }

    /// <summary>Whether a block can be read now.</summary>
    public bool CanRead(BlockKey key) => !_reading.IsOpen && Has(key);

    /// <summary>A lease on a block, which is read into memory, and starts to read those behind it in its chain. Blocks the
    /// thread.</summary>
    /// <param name="ns">Namespace of the chain.</param>
    /// <param name="hashes">The block, and behind it those that will be wanted next.</param>
    /// <param name="ahead">How many of them are read ahead.</param>
    /// <param name="request">The request that wants it; see <see cref="BlockStore.TryLease"/>.</param>
    /// <returns>Null when it is not on the disk, or could not be read in time.</returns>
    public BlockLease? Fetch(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, int ahead, long request)
    {
        var key = new BlockKey(ns, hashes[0]);
        if (_reading.IsOpen || _index.Find(key) is not { } block)
            return null;
        var waiter = new PromotionWaiter(expected: null, request);
        if (!_promotions.TryJoin(key, _options.ReadTimeout, waiter))
            return null;
        ahead = Math.Max(ahead, AheadBytes / block.Layout.BlockBytes); // small blocks come many at a time
        for (var i = 1; i < hashes.Length && i <= ahead; i++)
            Prefetch(new BlockKey(ns, hashes[i]));
        if (!waiter.Result.Wait(_options.ReadTimeout))
        {
            waiter.Cancel(CancellationToken.None); // what comes late is released by who brings it
            if (_readers.Exists(reader => reader.IsStuck(_options.ReadTimeout)))
                _reading.Failed($"a read takes more than {_options.ReadTimeout.TotalSeconds:0.##} s");
            if (!waiter.Result.IsCompletedSuccessfully)
                return null;
        }

        return waiter.Result.Result.Lease;
    }

    /// <summary>Starts to read a block into memory, where it is not there.</summary>
    /// <returns>Whether it is on the disk, and not in memory.</returns>
    public bool Prefetch(BlockKey key)
    {
        if (!CanRead(key) || _store.Contains(key))
            return false;
        _promotions.TryStart(key, _options.ReadTimeout);
        return true;
    }

    /// <summary>Whether nobody can have deleted a block without its being known here.</summary>
    /// <param name="generation">Its generation: nothing that was deleted before it counts.</param>
    /// <param name="heard">Up to where its silo had heard of all deletions.</param>
    /// <param name="known">Since when every deletion is known, or among the forgotten ones.</param>
    /// <param name="forgotten">Up to where deletions of its tenant are forgotten; 0 for none.</param>
    internal static bool MayLive(ulong generation, ulong heard, ulong known, ulong forgotten) =>
        Math.Max(generation, heard) is var since && since >= known && since >= forgotten;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var thread in _threads)
            thread.Start();
        return Task.CompletedTask;
    }

    /// <summary>Writes what is in memory and not on the disk, the latest used first, for at most <see cref="DiskOptions.DrainTimeout"/>.
    /// The silo serves meanwhile.</summary>
    public async Task DrainAsync()
    {
        if (_options.DrainTimeout > TimeSpan.Zero)
        {
            await Task.Factory.StartNew(Drain, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)
                .WaitAsync(_options.DrainTimeout + EndPatience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // a disk may stand still
        }
    }

    /// <summary>Ends the threads, and completes the open segment.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => Task.Run(Stop, CancellationToken.None);

    /// <inheritdoc/>
    public void Dispose()
    {
        Stop();
        if (_threads.TrueForAll(thread => !thread.IsAlive))
            _writer.Dispose(); // else a call that stands still has its memory
        _index.Dispose();
        _journal.Dispose();
        _folder.Dispose();
    }

    // What is there already counts; the rest has to be free now.
    private void CheckRoom()
    {
        var there = _folder.Segments.Sum(path => new FileInfo(path).Length);
        var free = new DriveInfo(_options.Path).AvailableFreeSpace;
        if (there + free >= _options.Size.Bytes)
            return;
        _folder.Dispose();
        throw new IOException(
            $"The disk '{_options.Path}' has {new ByteSize(there + free)} for {DiskOptions.Section}:Size, which is {_options.Size}. Lower "
            + "it, or make room.");
    }

    // Under the store's lock.
    private DemoteOutcome Consider(BlockLease lease, bool wasReused)
    {
        if (lease.Layout.BlockBytes < _options.MinBlockSize.Bytes || !_writer.Fits(lease.Layout)
            || lease.ExpiresAt - _time.GetUtcNow() < ShortLife)
            return DemoteOutcome.Unsuited;
        return _wear.TryTake(lease.Layout.BlockBytes, wasReused) ? DemoteOutcome.Written : DemoteOutcome.Wear;
    }

    private void Run()
    {
        try
        {
            LoadFound();
        }
        catch (Exception e)
        {
            _writable.Failed(e.Message);
            LogFailed(e);
        }

        while (!_stopping)
        {
            _wake.WaitOne(Tick);
            Interlocked.Exchange(ref _isShort, 0);
            try
            {
                lock (_writing)
                {
                    var began = Stopwatch.GetTimestamp();
                    while (!_stopping && !_writable.IsOpen && Stopwatch.GetElapsedTime(began) < Tick && _store.Demote(BatchBytes, this) > 0)
                        WriteTaken();
                    Tend();
                }
            }
            catch (IOException e)
            {
                _writable.Failed(e.Message);
            }
            catch (Exception e)
            {
                _writable.Failed(e.Message);
                LogFailed(e);
            }
        }
    }

    // Leases are released whatever happens; what is not written is gone from the index too.
    private void WriteTaken()
    {
        var done = 0;
        try
        {
            if (_taken.Count == 0)
                return;

            // Of a chain the end goes first, and the begin is read first: so a reader goes forward.
            _taken.Reverse();
            _takenLeases.Reverse();
            _writer.Write(_taken, _takenLeases, ref done);
            _lastTaken = _time.GetTimestamp();
            _writable.Succeeded();
        }
        finally
        {
            for (var i = 0; i < _taken.Count; i++)
            {
                _counters.Demote(i < done ? DemoteOutcome.Written : DemoteOutcome.Failed);
                if (i >= done && _index.Drop(_taken[i]))
                    _store.Settle(_taken[i].Key);
                _takenLeases[i].Dispose();
            }

            _taken.Clear();
            _takenLeases.Clear();
            lock (_room)
                Monitor.PulseAll(_room);
        }
    }

    // A block that is read would take the place of one that is not on the disk yet: the writer gets a moment.
    private void WaitForRoom(long bytes)
    {
        if (_store.Arena.FreeBytes >= bytes)
            return;
        var deadline = Deadline.After(RoomPatience);
        lock (_room)
        {
            _wake.Set();
            while (_store.Arena.FreeBytes < bytes && !_stopping && !_writable.IsOpen && !deadline.Passed)
                Monitor.Wait(_room, deadline.Left);
        }
    }

    private void Tend()
    {
        Settle(_index.Expire(MostAtOnce));
        _folder.DeleteLeft();
        if (_index is { IsLoaded: true, IsTrusted: false } && _trust.KnownSince(_folder.Manifest) is { } known)
            Trust(known);

        if (_writer.HasUnfinished && _time.GetElapsedTime(_lastTaken) > _options.SealAfter)
            _writer.Complete();
        if (_writable.MayTry())
        {
            _folder.Save(_folder.Manifest);
            _writable.Succeeded();
        }

        if (_reading.MayTry())
            TryToRead();

        if (_time.GetElapsedTime(_savedAt) > SavePause && !_writable.IsOpen && _index.IsTrusted)
        {
            _savedAt = _time.GetTimestamp();
            Save(isClean: false);
        }
    }

    private void TryToRead()
    {
        try
        {
            _index.TryToRead();
            _reading.Succeeded();
        }
        catch (IOException e)
        {
            _reading.Failed(e.Message);
        }
    }

    private void Trust(ulong known)
    {
        var heard = _folder.Manifest.Heard;
        var (readable, empty) = _index.Trust(block =>
            MayLive(block.Generation, heard, known, _directory.Tombstones.ForgottenOf(block.Key.Namespace.Tenant))
            && _directory.MayPublish(block.Key, block.Generation));
        Settle(readable);
        foreach (var segment in empty)
            Forget(segment);
        LogTrusted(readable.Count, _options.Path);
    }

    // Before what was found can be read, what is known of the last run counts.
    private void Save(bool isClean) => _folder.Save(!_index.IsTrusted
        ? _folder.Manifest with { IsClean = isClean }
        : _folder.Manifest with
        {
            IsClean = isClean,
            IsAlone = _trust.IsAlone ?? _folder.Manifest.IsAlone,
            Heard = _journal.IsIdle ? Math.Max(_folder.Manifest.Heard, _trust.Heard) : _folder.Manifest.Heard,
            Run = _trust.Run,
        });

    private void LoadFound()
    {
        var began = _time.GetTimestamp();
        var (blocks, dropped) = (0, 0);
        _writer.LastNumber = _folder.LastNumber;
        var found = new List<DiskSegment>();
        try
        {
            Parallel.ForEach(
                _folder.Segments, new ParallelOptions { MaxDegreeOfParallelism = Math.Max(2, Environment.ProcessorCount / 2) }, path =>
                {
                    var segment = Load(path);
                    lock (found)
                    {
                        if (segment is not null)
                            found.Add(segment);
                        else
                            dropped++;
                    }
                });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or AggregateException)
        {
            // What was not looked at is this disk's no longer: deletions would miss it.
            _writable.Failed(e.GetBaseException().Message);
            _folder.Renew();
        }

        foreach (var segment in found.OrderBy(segment => segment.Number))
        {
            // Deletions to come are stamped later than all of this, whatever the clock says.
            _store.Witness(segment.Blocks.Select(block => block.Generation).DefaultIfEmpty().Max());
            _index.AddFound(segment);
            blocks += segment.Blocks.Count;
        }

        _index.Loaded();
        LogFound(blocks, found.Count, dropped, _options.Path, _time.GetElapsedTime(began).TotalSeconds);
        if (blocks == 0)
            Trust(known: 0);
        _wake.Set();
    }

    // A file that lies under another's name is given up: where its changes are, nobody can say.
    private DiskSegment? Load(string path)
    {
        DiskSegment? segment = null;
        try
        {
            segment = SegmentFormat.Read(path, _folder.Manifest.Id, _folder.IsDirect);
            if (segment is not null && _folder.PathOf(segment.Number) == path && segment.IsSealedByKey == (_keys is not null)
                && SegmentChanges.TryApply(segment))
                return segment;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            LogUnread(path, e.Message);
        }

        segment?.Dispose();
        _folder.Delete(path);
        return null;
    }

    private void Drain()
    {
        var deadline = Deadline.After(_options.DrainTimeout);
        var written = 0;
        if (_writing.TryEnter(deadline.Left))
        {
            try
            {
                if (_index.IsTrusted)
                    Save(isClean: false); // as long as the cluster can say whether anybody else is there
                foreach (var (key, _) in _store.ByLastUse())
                {
                    if (deadline.Passed || _writable.IsOpen)
                        break;
                    if (Has(key) || _store.TryHold(key) is not { } lease)
                        continue;
                    if (!TryTake(lease, wasReused: true))
                        lease.Dispose();
                    else if (_store.Describe(key)?.Generation != lease.Generation)
                        _index.Drop(_taken[^1]); // replaced or evicted meanwhile; who replaces it later finds it
                    _store.Settle(key);
                    if (_taken.Count < MostDrained && _takenLeases.Sum(taken => taken.ArenaBytes) < BatchBytes)
                        continue;
                    written += _taken.Count;
                    WriteTaken();
                }

                written += _taken.Count;
                WriteTaken();
                _writer.Complete();
            }
            catch (Exception e)
            {
                _writable.Failed(e.Message);
            }
            finally
            {
                _writing.Exit();
            }
        }

        LogDrained(written, _options.Path);
    }

    private void Stop()
    {
        if (_stopping)
            return;
        _stopping = true;
        _store.RunsShort = null;
        _promotions.Stop();
        _wake.Set();
        var end = Deadline.After(EndPatience);
        foreach (var thread in _threads)
        {
            if (thread.IsAlive)
                thread.Join(end.Left);
        }

        try
        {
            if (!_writing.TryEnter(end.Left))
                return; // the disk stands still; the next start takes the silo for killed
            try
            {
                _writer.Complete();
                if (_journal.Flush(end.Left + Tick) && !_writable.IsOpen && !_folder.HasUndeleted)
                    Save(isClean: true);
            }
            finally
            {
                _writing.Exit();
            }
        }
        catch (Exception e)
        {
            _writable.Failed(e.Message);
        }
    }

    // Its changes cannot be written: another start would not know of them.
    private void GiveUp(DiskSegment segment, IOException reason)
    {
        _writable.Failed(reason.Message);
        Forget(segment);
    }

    private void Forget(DiskSegment segment)
    {
        segment.IsRemoved = true;
        Settle(_index.Remove(segment));
        _folder.Delete(segment.Path);
    }

    private void Damaged(DiskBlock block)
    {
        if (_index.Drop(block))
            _store.Settle(block.Key);
    }

    private void Settle(IEnumerable<BlockKey> keys)
    {
        foreach (var key in keys)
            _store.Settle(key);
    }

    private void AddThread(string name, ThreadStart run) => _threads.Add(
        new Thread(run, StackBytes)
        {
            IsBackground = true,
            Name = string.Create(CultureInfo.InvariantCulture, $"kvcache disk {name} {_threads.Count}"),
        });

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "{Blocks} blocks in {Segments} segments were found on the disk {Path} within {Seconds:0.0} s; {Dropped} segments were "
        + "not complete and are dropped")]
    private partial void LogFound(int blocks, int segments, int dropped, string path, double seconds);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Blocks} blocks on the disk {Path} can be read")]
    private partial void LogTrusted(int blocks, string path);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Blocks} blocks were written from memory to the disk {Path} at the end")]
    private partial void LogDrained(int blocks, string path);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The segment {Path} cannot be read and is dropped: {Reason}")]
    private partial void LogUnread(string path, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "The disk tier failed, and goes on")]
    private partial void LogFailed(Exception exception);
}
