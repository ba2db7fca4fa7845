namespace KvCache.Engine.Storage;

/// <summary>
/// The block memory of a silo or of an in-process cache: one mapping outside the GC heap, sized once, allocated in
/// contiguous, 4 KiB-aligned pieces in O(1).
/// </summary>
/// <remarks>
/// Only committed memory is handed out, and <see cref="Commit"/> adds it step by step: a silo serves with what is there while
/// the rest is being touched. When the host has less than was configured, the arena stays smaller; it never exceeds its size.
/// All members are thread-safe.
/// </remarks>
internal sealed class Arena : IDisposable
{
    /// <summary>Alignment and granularity of allocations, in bytes.</summary>
    public const int PageBytes = 4096;

    private const long CommitStep = 32L << 20;

    private readonly NativeMapping _mapping;
    private readonly PageAllocator _pages;
    private readonly Lock _lock = new();
    private readonly Lock _committing = new();
    private readonly string? _path;
    private readonly bool _hugePages;

    private Arena(NativeMapping mapping, long capacity, string? path, bool hugePages)
    {
        _mapping = mapping;
        _path = path;
        _hugePages = hugePages;
        Capacity = capacity;
        _pages = new PageAllocator(checked((int)(capacity / PageBytes)));
    }

    /// <summary>Configured size in bytes.</summary>
    public long Capacity { get; }

    /// <summary>Bytes that are touched and can be allocated.</summary>
    public long CommittedBytes
    {
        get
        {
            lock (_lock)
                return (long)_pages.Pages * PageBytes;
        }
    }

    /// <summary>Bytes that are allocated, including the rounding of sizes.</summary>
    public long UsedBytes
    {
        get
        {
            lock (_lock)
                return (long)(_pages.Pages - _pages.FreePages) * PageBytes;
        }
    }

    /// <summary>Bytes that are committed and not allocated.</summary>
    public long FreeBytes => (long)_pages.FreePages * PageBytes;

    /// <summary>
    /// External fragmentation: the share of free memory that lies outside the largest free run, 0 (one run) to 1.
    /// </summary>
    public double Fragmentation
    {
        get
        {
            lock (_lock)
                return _pages.FreePages == 0 ? 0 : 1 - ((double)_pages.LargestFreeRun() / _pages.FreePages);
        }
    }

    /// <summary>Creates an arena in a shared file that local readers may map.</summary>
    /// <param name="path">Path of the file, best on a tmpfs; created with mode 0600 and deleted by <see cref="Dispose"/>.</param>
    /// <param name="bytes">Size; rounded down to pages, at least one.</param>
    /// <param name="hugePages">Whether huge pages are asked for.</param>
    /// <exception cref="IOException">The file cannot be created, or another process holds it.</exception>
    /// <exception cref="PlatformNotSupportedException">Not on Linux.</exception>
    public static Arena CreateShared(string path, long bytes, bool hugePages = true)
    {
        var capacity = RoundDown(bytes);
        return new Arena(NativeMapping.CreateShared(path, capacity, hugePages), capacity, path, hugePages);
    }

    /// <summary>Creates an arena in private memory.</summary>
    /// <param name="bytes">Size; rounded down to pages, at least one.</param>
    /// <param name="hugePages">Whether huge pages are asked for.</param>
    public static Arena CreatePrivate(long bytes, bool hugePages = true)
    {
        var capacity = RoundDown(bytes);
        return new Arena(NativeMapping.CreatePrivate(capacity, hugePages), capacity, null, hugePages);
    }

    /// <summary>Bytes that an allocation of <paramref name="bytes"/> takes from the budget.</summary>
    public static long RoundUp(int bytes) => (long)PageAllocator.RoundUp(PagesFor(bytes)) * PageBytes;

    /// <summary>Touches memory until the configured size is reached. Blocking; meant for a background thread.</summary>
    /// <param name="cancellationToken">Stops between two steps.</param>
    /// <exception cref="IOException">The host has no more memory; what was committed before stays usable.</exception>
    public void Commit(CancellationToken cancellationToken = default) => CommitBy(MemoryNodes.Count, cancellationToken);

    /// <summary>Touches memory with several threads at the same time: as many as there are nodes, each of which has channels of its
    /// own.</summary>
    internal void CommitBy(int threads, CancellationToken cancellationToken)
    {
        var failures = new Exception?[threads];
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            lock (_committing)
            {
                var offset = CommittedBytes;
                if (offset == Capacity)
                    return;
                var steps = (int)Math.Min(threads, (Capacity - offset + CommitStep - 1) / CommitStep);
                if (steps == 1)
                    Touch(0);
                else
                    Parallel.For(0, steps, new ParallelOptions { MaxDegreeOfParallelism = steps, CancellationToken = default }, Touch);
                for (var i = 0; i < steps; i++)
                {
                    if (failures[i] is { } failure)
                        throw failure;
                    lock (_lock)
                        _pages.Grow((int)(StepOf(i) / PageBytes));
                }

                long StepOf(int step) => Math.Min(CommitStep, Capacity - offset - (step * CommitStep));

                void Touch(int step)
                {
                    try
                    {
                        _mapping.Commit(offset + (step * CommitStep), StepOf(step));
                    }
                    catch (IOException e)
                    {
                        failures[step] = e;
                    }
                }
            }
        }
    }

    /// <summary>Moves committed memory into huge pages, where the host has them. Blocking, some seconds a GiB; meant for a background
    /// thread.</summary>
    /// <remarks>
    /// Blocks are copied a few percent faster from huge pages, and readers that map the arena need 512 times fewer entries for it. Not a
    /// part of <see cref="Commit"/>, as on a virtual machine
    /// it takes four times as long, and nobody has to wait for it: blocks may be in use meanwhile. The memory of a file is in small pages
    /// at first wherever the system does not give huge ones by itself.
    /// </remarks>
    /// <param name="cancellationToken">Stops between two steps.</param>
    public void UseHugePages(CancellationToken cancellationToken = default)
    {
        var committed = _hugePages ? CommittedBytes : 0;
        for (long offset = 0; offset < committed; offset += CommitStep)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _mapping.UseHugePages(offset, Math.Min(CommitStep, committed - offset));
        }
    }

    /// <summary>Takes contiguous memory.</summary>
    /// <param name="bytes">Size, at least 1.</param>
    /// <param name="offset">Start inside the arena, a multiple of <see cref="PageBytes"/>.</param>
    /// <returns>False when no free run is long enough, a normal answer of a full arena.</returns>
    public bool TryAllocate(int bytes, out long offset)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1);
        int page;
        lock (_lock)
            page = _pages.Allocate(PagesFor(bytes));
        offset = (long)page * PageBytes;
        return page >= 0;
    }

    /// <summary>Gives memory back. The caller makes sure that nobody reads or writes it any more.</summary>
    /// <param name="offset">Start, as <see cref="TryAllocate"/> returned it.</param>
    /// <exception cref="ArgumentException">Nothing is allocated there.</exception>
    public void Free(long offset)
    {
        lock (_lock)
            _pages.Free(checked((int)(offset / PageBytes)));
    }

    /// <summary>Length of the run, allocated or free, that starts at an offset.</summary>
    /// <param name="offset">Start of a run: 0, where something is allocated, or where the run before ends.</param>
    /// <param name="bytes">Its length.</param>
    /// <param name="free">Whether it is free.</param>
    /// <returns>False behind what is committed.</returns>
    internal bool TryGetRun(long offset, out long bytes, out bool free)
    {
        lock (_lock)
        {
            var found = _pages.TryGetRun((int)(offset / PageBytes), out var length, out free);
            bytes = (long)length * PageBytes;
            return found;
        }
    }

    /// <summary>The memory of an allocation. Valid until it is freed; the arena does not check.</summary>
    /// <param name="offset">Start inside the arena.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is outside the arena.</exception>
    public unsafe Span<byte> Span(long offset, int length)
    {
        if (offset < 0 || length < 0 || offset > Capacity - length)
            throw new ArgumentOutOfRangeException(
                nameof(offset), $"The range {offset}+{length} lies outside the arena of {Capacity} bytes.");
        return new Span<byte>((byte*)_mapping.Address + offset, length);
    }

    /// <summary>Unmaps the memory and deletes the file. Nobody may use a span of the arena any more.</summary>
    public void Dispose()
    {
        // The file before the mapping, which holds the lock on the path: behind it another arena may have the path already.
        if (_path is not null && !_mapping.IsClosed)
            File.Delete(_path);
        _mapping.Dispose();
    }

    private static int PagesFor(int bytes) => (int)(((long)bytes + PageBytes - 1) / PageBytes);

    private static long RoundDown(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, PageBytes);
        return bytes / PageBytes * PageBytes;
    }
}
