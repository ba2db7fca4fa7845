namespace KvCache.Engine.Storage;

/// <summary>
/// The blocks of one arena: reserve, publish, lease, evict, expire, remove. Metadata only; bytes are written and read by
/// the callers, outside of the lock.
/// </summary>
/// <remarks>
/// <para>A key has at most one visible block. It can be read as long as a lease is held, whatever happens to the key.</para>
/// <para>What is evicted is chosen by a policy (<see cref="Eviction.IEvictionPolicy"/>), one for each account. It is always the end of a
/// chain, so that what stays can be reached from its first token. Leased, pinned and unfinished blocks are never taken, nor is what comes
/// before them.</para>
/// <para>Readers find and lease blocks without a lock. What the policies have to hear of it they write down, and whoever changes something
/// tells them first (<see cref="UseLog"/>). One lock guards all that is changed: operations are short and never wait. All members are
/// thread-safe. docs/eviction.md says what it costs.</para>
/// </remarks>
internal sealed partial class BlockStore : IDisposable
{
    private const int MostTurns = 30; // the last of them sleep: 10 ms at most

    private readonly Lock _lock = new();
    private readonly BlockNodes _nodes;
    private readonly EntriesByOffset _byOffset = new();
    private readonly DeadlineQueue _deadlines;
    private readonly GenerationClock _clock;
    private readonly BlockStoreCounters _counters = new();
    private readonly BlockStoreOptions _options;
    private readonly IBlockObserver? _observer;
    private long _useClock;
    private bool _closed;
    private int _waiting; // for the lock

    /// <summary>Creates a store over an arena, which it owns from then on.</summary>
    /// <param name="arena">Memory of the blocks.</param>
    /// <param name="options">Limits; null for the defaults.</param>
    /// <param name="time">Clock; null for the system's.</param>
    /// <param name="observer">Hears of every change; null for nobody.</param>
    /// <param name="random">Gives the random part of generations; null for <see cref="Random.Shared"/>.</param>
    /// <param name="accounts">Who may have how much; null for no limits but those of the options.</param>
    public BlockStore(
        Arena arena,
        BlockStoreOptions? options = null,
        TimeProvider? time = null,
        IBlockObserver? observer = null,
        Random? random = null,
        TenantAccounts? accounts = null)
    {
        Accounts = accounts ?? new TenantAccounts();
        Arena = arena;
        _observer = observer;
        _clock = new GenerationClock(time ?? TimeProvider.System, random ?? Random.Shared);
        _options = options ?? new BlockStoreOptions();
        _deadlines = new DeadlineQueue(time ?? TimeProvider.System);
        _nodes = new BlockNodes(Accounts, BlocksOf);
        _window = new MemoryWindow(arena, _byOffset);
    }

    /// <summary>The memory of the blocks.</summary>
    public Arena Arena { get; }

    /// <summary>Who has how much of it.</summary>
    public TenantAccounts Accounts { get; }

    /// <summary>Until when blocks may be read here.</summary>
    public ServingTerm Term { get; } = new();

    /// <summary>An id for a write, or a stamp of a deletion; see <see cref="GenerationClock"/>.</summary>
    public ulong NewGeneration() => _clock.Next();

    /// <summary>The latest id that this store has given or seen: what a silo tells others of its clock.</summary>
    public ulong Clock => _clock.Last;

    /// <summary>
    /// A stamp for a deletion that another silo has stamped: its own stamp, unless this store has given or seen later ids. Nothing that is
    /// here, or on its way here, is as late.
    /// </summary>
    public ulong StampFrom(ulong stamp) => _clock.From(stamp);

    /// <summary>Takes notice of an id of another silo: later ids of this store are larger.</summary>
    public void Witness(ulong generation) => _clock.Witness(generation);

    /// <summary>Takes a block out of sight. Its memory is reused when the last lease is released.</summary>
    /// <param name="key">Key of the block.</param>
    /// <param name="reason">Why, for the counters.</param>
    /// <param name="generation">Only this generation, or any.</param>
    /// <returns>False when no such block is visible.</returns>
    public bool Remove(BlockKey key, RemovalReason reason = RemovalReason.Deleted, ulong? generation = null)
    {
        using (Enter())
        {
            if (Find(key) is not { } entry || (generation is { } wanted && wanted != entry.Generation))
                return false;
            RemoveEntry(entry, evicted: false);
            _ = reason == RemovalReason.Corrupt ? _counters.Corrupt++ : _counters.Deleted++;
            return true;
        }
    }

    /// <summary>Takes a block out of sight if its generation is below a stamp.</summary>
    /// <returns>False when no such block is visible.</returns>
    public bool Bury(BlockKey key, ulong stamp)
    {
        _clock.Witness(stamp);
        using (Enter())
        {
            TellFollowers(key, stamp);
            if (Find(key) is not { } entry || entry.Generation >= stamp)
                return false;
            RemoveEntry(entry, evicted: false);
            _counters.Deleted++;
            return true;
        }
    }

    /// <summary>Silos that should keep a block, as its writer asked; 0 when it is not visible. Does not count as use.</summary>
    public int WantedCopies(BlockKey key) => Look(key) is { } entry ? Math.Max(1, entry.Durability.Copies) : 0;

    /// <summary>The block before a block in its chain; zero when there is none or the block is not visible. Does not count as
    /// use.</summary>
    public BlockHash ParentOf(BlockKey key) => Look(key)?.Lineage.Parent ?? default;

    /// <summary>Keys of the visible blocks that more than one silo should keep.</summary>
    public void CollectCopied(ICollection<BlockKey> keys) => Collect(entry => entry.Durability.Copies > 1, keys);

    /// <summary>
    /// Work that was done under the lock beyond what every operation does: blocks walked over in trees and policies, runs of memory looked
    /// at.
    /// </summary>
    internal long Steps
    {
        get
        {
            using (Enter())
                return _nodes.Steps + _window.Steps + Accounts.All.Sum(account => account.Visible?.Policy.Steps ?? 0);
        }
    }

    /// <summary>Keys that are stored, being written, or come before one that is.</summary>
    internal int KnownKeys
    {
        get
        {
            using (Enter())
                return _nodes.Count;
        }
    }

    /// <summary>A consistent snapshot of the counters.</summary>
    public BlockStoreStatistics GetStatistics()
    {
        using (Enter())
            return _counters.Snapshot(Arena);
    }

    /// <summary>Keys of an account's visible blocks.</summary>
    public void CollectOf(TenantAccount account, ICollection<BlockKey> keys) => Collect(entry => entry.Account == account, keys);

    /// <summary>Visible blocks with their bytes in the arena, the most recently used one first.</summary>
    public IEnumerable<(BlockKey Key, long Bytes)> ByLastUse()
    {
        var blocks = new List<(long LastUse, BlockKey Key, long Bytes)>();
        ForEach(entry => blocks.Add((entry.LastUse, entry.Key, entry.ArenaBytes)));
        return blocks.OrderByDescending(block => block.LastUse).Select(block => (block.Key, block.Bytes));
    }

    /// <summary>Collects the keys of a namespace.</summary>
    public void CollectOf(NamespaceId ns, ICollection<BlockKey> keys) => Collect(entry => entry.Key.Namespace == ns, keys);

    private void Collect(Func<BlockEntry, bool> wanted, ICollection<BlockKey> keys) => ForEach(entry =>
    {
        if (wanted(entry))
            keys.Add(entry.Key);
    });

    // In slices: others are let in between. What is visible all the while is seen once.
    private void ForEach(Action<BlockEntry> see)
    {
        foreach (var account in Accounts.All)
        {
            for (var (slot, more) = (0, true); more;)
            {
                using (Enter())
                {
                    if (account.Visible is not { } blocks)
                        break;
                    var end = Math.Min(blocks.Slots, slot + (4 * Slice));
                    for (; slot < end; slot++)
                    {
                        if (blocks[slot] is { } entry)
                            see(entry);
                    }

                    more = slot < blocks.Slots;
                }

                LetOthersIn();
            }
        }
    }

    /// <summary>A consistent snapshot of a tenant's account.</summary>
    public TenantStatistics GetStatistics(TenantAccount account)
    {
        using (Enter())
            return account.Snapshot();
    }

    /// <summary>
    /// Closes the store: nothing is found, reserved or published any more. The arena is unmapped when nobody holds a lease or
    /// writes: touching unmapped memory would kill the process.
    /// </summary>
    public void Dispose()
    {
        using (Enter())
        {
            _closed = true;
            foreach (var account in Accounts.All)
            {
                for (var slot = 0; slot < account.Visible?.Slots; slot++)
                {
                    if (account.Visible[slot] is { } entry)
                        RemoveEntry(entry, evicted: false);
                }
            }

            if (_byOffset.Count == 0)
                Arena.Dispose();
        }
    }

    // Takes the lock, and tells what readers have written down.
    private Holder Enter()
    {
        if (!_lock.TryEnter())
        {
            Interlocked.Increment(ref _waiting);
            _lock.Enter();
            Interlocked.Decrement(ref _waiting);
        }

        _deadlines.Enter();
        if (_uses.HasNews)
            TellUses();
        return new Holder(_lock);
    }

    // Between two slices of something long. A lock is not handed over: who takes it again at once would keep all others waiting.
    private void LetOthersIn()
    {
        var wait = new SpinWait();
        for (var turns = 0; turns < MostTurns && Volatile.Read(ref _waiting) > 0; turns++)
            wait.SpinOnce();
    }

    // Under the lock.
    private BlockEntry? Find(BlockKey key) => _nodes.Find(in key) is { } node ? Find(node) : null;

    private BlockEntry? Find(BlockNode node)
    {
        if (node.Entry is not { } entry || !IsOver(entry))
            return node.Entry;
        Expire(entry);
        return null;
    }

    // Without it.
    private BlockEntry? Look(BlockKey key)
    {
        if (_nodes.Find(in key)?.Visible is not { } entry)
            return null;
        if (!IsOver(entry))
            return entry;
        using (Enter())
            return Find(entry.Node);
    }

    private bool IsOver(BlockEntry entry) => Volatile.Read(ref entry.ExpiresAt) is var end and < long.MaxValue && end <= _deadlines.Now;

    private void Expire(BlockEntry entry)
    {
        RemoveEntry(entry, evicted: false);
        _counters.Expired++;
    }

    private void RemoveEntry(BlockEntry entry, bool evicted)
    {
        var (node, account) = (entry.Node, entry.Account);
        _counters.Blocks--;
        _counters.BlockBytes -= entry.Length;
        account.Blocks--;
        BlocksOf(account).Remove(node, entry, evicted, _deadlines.EnteredMilliseconds);
        Volatile.Write(ref node.Entry, null);
        if (entry.PinnedUntil != 0)
        {
            _nodes.Unlock(node); // it kept what comes before it, too
            _counters.PinnedBytes -= entry.ArenaBytes;
            account.PinnedBytes -= entry.ArenaBytes;
            entry.PinnedUntil = 0;
        }

        if (entry.Leases.IsTold)
            _nodes.Unlock(node);
        _deadlines.Remove(entry);
        _observer?.Removed(entry.Key, entry.Generation);
        Close(entry);
        _nodes.DropUnused(node);
    }

    // Nobody gets a lease any more. The memory is free at once, or with the last one.
    private void Close(BlockEntry entry)
    {
        entry.State = BlockState.Removed;
        var (leased, told) = entry.Leases.Close();
        _counters.LeasedBlocks += (leased ? 1 : 0) - (told ? 1 : 0);
        if (!leased)
            FreeMemory(entry);
    }

    private void FreeMemory(BlockEntry entry)
    {
        _byOffset.Remove(entry);
        entry.Account.UsedBytes -= entry.ArenaBytes;
        if (entry.IsCopy)
            _counters.CopiedBytes -= entry.ArenaBytes;
        if (_wanted == entry.ArenaBytes)
            (_wanted, _passedOn) = (0, entry.Offset);
        else
            Arena.Free(entry.Offset);
        if (_closed && _byOffset.Count == 0)
            Arena.Dispose();
    }

    private readonly ref struct Holder(Lock held)
    {
        public void Dispose() => held.Exit();
    }
}
