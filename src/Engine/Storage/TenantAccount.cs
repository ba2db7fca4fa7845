namespace KvCache.Engine.Storage;

/// <summary>
/// What a tenant has in a store, and what it may have. Whatever fills memory names a key, a key names its tenant, and the store charges
/// whoever that is: there is no door beside it.
/// </summary>
internal sealed class TenantAccount
{
    private readonly TimeProvider _time;
    private readonly EvictableBytes _evictable;
    private TenantLimits _limits;
    private long _heldBytes, _readBlocks, _readTokens, _missedBlocks;
    private long _usedBytes, _settled; // since when so many bytes are used
    private long _lockedBytes, _chargedBytes;
    private double _byteSeconds;

    internal TenantAccount(TenantId id, string name, TenantLimits limits, EvictableBytes evictable, TimeProvider time)
    {
        _time = time;
        _settled = time.GetTimestamp();
        Id = id;
        Name = name;
        _limits = limits;
        CountsPaths = id != default || limits.Locked != long.MaxValue;
        _evictable = evictable;
    }

    /// <summary>Whose it is.</summary>
    public TenantId Id { get; }

    /// <summary>Name of the tenant.</summary>
    public string Name { get; }

    /// <summary>What it may have. May change at any time; what it has above a new limit goes as others need it.</summary>
    public TenantLimits Limits
    {
        get => Volatile.Read(ref _limits);
        set => Volatile.Write(ref _limits, value);
    }

    /// <summary>Whether what is kept because it comes before a locked block is counted as locked, too.</summary>
    public bool CountsPaths { get; }

    /// <summary>Bytes that holds and mapped leases keep.</summary>
    public long HeldBytes => Volatile.Read(ref _heldBytes);

    /// <summary>The visible blocks; null until there is one. Guarded by the store's lock, like everything below.</summary>
    internal TenantBlocks? Visible { get; set; }

    /// <summary>
    /// Memory that can be evicted: of visible blocks that nothing needs, nor, where paths are counted, anything behind them.
    /// </summary>
    internal long EvictableBytes
    {
        get;
        set
        {
            _evictable.Bytes += value - field;
            field = value;
            Volatile.Write(ref _lockedBytes, _usedBytes - value);
        }
    }

    /// <summary>All memory of the tenant.</summary>
    internal long UsedBytes
    {
        get => _usedBytes;
        set
        {
            Settle();
            _usedBytes = value;
            Volatile.Write(ref _lockedBytes, value - EvictableBytes);
        }
    }

    internal long WrittenBlocks { get; set; }

    internal long WrittenTokens { get; set; }

    internal long WritingBytes { get; set; }

    internal long PinnedBytes { get; set; }

    internal int Blocks { get; set; }

    internal long Evicted { get; set; }

    internal long Refused { get; set; }

    /// <summary>What a search for a window has collected of this tenant; see <see cref="MemoryWindow"/>.</summary>
    internal long WindowBytes { get; set; }

    /// <summary>Memory that cannot be evicted now, what was charged in advance left aside.</summary>
    internal long LockedBytes => Volatile.Read(ref _lockedBytes);

    // What readers have charged a moment ago included.
    private long OutOfReach => LockedBytes + Volatile.Read(ref _chargedBytes);

    /// <summary>A block was served.</summary>
    public void Read(int tokens)
    {
        Interlocked.Increment(ref _readBlocks);
        Interlocked.Add(ref _readTokens, tokens);
    }

    /// <summary>A block was asked for, and not served.</summary>
    public void Missed() => Interlocked.Increment(ref _missedBlocks);

    /// <summary>What the tenant has and has had; under the store's lock.</summary>
    internal TenantStatistics Snapshot()
    {
        Settle();
        var limits = Limits;
        return new TenantStatistics
        {
            Blocks = Blocks,
            UsedBytes = UsedBytes,
            ShareBytes = limits.Share == long.MaxValue ? null : limits.Share,
            LockedBytes = LockedBytes,
            WritingBytes = WritingBytes,
            PinnedBytes = PinnedBytes,
            HeldBytes = HeldBytes,
            ByteSeconds = _byteSeconds,
            WrittenBlocks = WrittenBlocks,
            WrittenTokens = WrittenTokens,
            ReadBlocks = Volatile.Read(ref _readBlocks),
            ReadTokens = Volatile.Read(ref _readTokens),
            MissedBlocks = Volatile.Read(ref _missedBlocks),
            Evicted = Evicted,
            Refused = Refused,
            Eviction = EvictionStatistics.Of(Visible),
        };
    }

    private void Settle()
    {
        var now = _time.GetTimestamp();
        _byteSeconds += _usedBytes * _time.GetElapsedTime(_settled, now).TotalSeconds;
        _settled = now;
    }

    /// <summary>Bytes that may still be held.</summary>
    public long FreeToHold => Math.Max(0, Limits.Held - HeldBytes);

    /// <summary>Charges a hold, or a mapped lease.</summary>
    /// <returns>False, and nothing is charged, when it would be too much.</returns>
    public bool TryHold(long bytes)
    {
        if (Interlocked.Add(ref _heldBytes, bytes) <= Limits.Held)
            return true;
        Interlocked.Add(ref _heldBytes, -bytes);
        return false;
    }

    /// <summary>Ends what <see cref="TryHold"/> has charged.</summary>
    public void EndHold(long bytes) => Interlocked.Add(ref _heldBytes, -bytes);

    /// <summary>Charges a lease that the store has not been told of yet. Any thread.</summary>
    /// <returns>False, and nothing is charged, when it might be too much: then it has to be asked under the store's lock.</returns>
    internal bool TryCharge(long bytes)
    {
        if (Interlocked.Add(ref _chargedBytes, bytes) + LockedBytes <= Limits.Locked)
            return true;
        Uncharge(bytes);
        return false;
    }

    /// <summary>The store was told of what <see cref="TryCharge"/> has charged.</summary>
    internal void Uncharge(long bytes) => Interlocked.Add(ref _chargedBytes, -bytes);

    /// <summary>Whether so many more bytes may become ones that cannot be evicted.</summary>
    internal bool MayLock(long bytes) => OutOfReach + bytes <= Limits.Locked || HasNothingLocked;

    /// <summary>Whether nothing is out of reach: one block may be, however large it is.</summary>
    internal bool HasNothingLocked => OutOfReach == 0;

    /// <summary>Whether a block of so many bytes may be begun, its cap left aside. One block at a time may be larger than the
    /// budget.</summary>
    /// <param name="bytes">Memory of the block.</param>
    /// <param name="path">What its write alone keeps from eviction, of what comes before it.</param>
    internal bool MayWrite(long bytes, long path) =>
        (OutOfReach + bytes <= Limits.Locked || LockedBytes == path) && (WritingBytes + bytes <= Limits.Writing || WritingBytes == 0);
}
