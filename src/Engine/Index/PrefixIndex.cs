using System.Runtime.CompilerServices;
using KvCache.Hashing;

namespace KvCache.Engine.Index;

/// <summary>
/// This silo's replica of who has which blocks: block key → mask of holders. A holder is a slot that this silo gave to a silo,
/// 0 to 62, or <see cref="RedisHolder"/>.
/// </summary>
/// <remarks>
/// <para>An entry is one cache line in an open-addressed table. The table is split into 256 shards, each with its own lock and
/// memory, so that growing, sweeping or copying one never stops the writers of the others; readers take no lock.</para>
/// <para>All members are thread-safe. Statements about one holder must come from one source at a time to be in order.</para>
/// </remarks>
internal sealed class PrefixIndex : IPrefixIndex
{
    /// <summary>Number of holders: 63 silos and Redis.</summary>
    public const int MaxHolders = 64;

    /// <summary>The holder that stands for Redis.</summary>
    public const int RedisHolder = 63;

    private const int DefaultShards = 256;

    // As many lines as a core fetches at a time; more would push each other out.
    private const int Ahead = 16;

    private readonly IndexShard[] _shards;
    private readonly EntryBudget _budget;

    /// <summary>Creates an empty index.</summary>
    /// <param name="options">Bounds; null for the defaults.</param>
    /// <exception cref="ArgumentOutOfRangeException">A bound is less than 1.</exception>
    public PrefixIndex(PrefixIndexOptions? options = null)
        : this(options, DefaultShards)
    {
    }

    // For those who make many indexes of a handful of blocks each; a power of two.
    internal PrefixIndex(PrefixIndexOptions? options, int shards)
    {
        options ??= new PrefixIndexOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxEntries, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxRedisEntries, 1, nameof(options));
        _budget = new EntryBudget(options.MaxEntries, options.MaxRedisEntries, options.PartOf);
        _shards = new IndexShard[shards];
        for (var i = 0; i < shards; i++)
            _shards[i] = new IndexShard(_budget);
    }

    /// <summary>Number of blocks that have a holder.</summary>
    public int Count => _budget.Taken;

    /// <summary>Number of blocks that are there for a reason.</summary>
    public int CountOf(EntryKind kind) => _budget.Of(kind);

    /// <summary>New blocks of other silos refused so far because the index was full.</summary>
    public long Refused => _budget.Refused;

    /// <summary>Blocks of Redis, or of tenants with more than their part, left out so far or forgotten for others, because the index knew
    /// too many.</summary>
    public long Forgotten => _budget.Forgotten;

    /// <summary>Bytes of all tables.</summary>
    public long MemoryBytes
    {
        get
        {
            long bytes = 0;
            foreach (var shard in _shards)
                bytes += shard.Bytes;
            return bytes;
        }
    }

    /// <summary>Number of blocks of one holder.</summary>
    public int CountOf(int holder)
    {
        Check(holder);
        var count = 0;
        foreach (var shard in _shards)
            count += shard.CountOf(holder);
        return count;
    }

    /// <summary>Adds a holder to a block.</summary>
    /// <returns>False when it was there already, or when the block is new, not this silo's, and the index is full.</returns>
    public bool Add(BlockKey key, int holder)
    {
        Check(holder);
        var hash = KeyHash.Of(in key);
        return ShardOf(hash).Add(in key, hash, holder);
    }

    /// <summary>Removes a holder from a block; a block without holders leaves the index.</summary>
    /// <returns>False when the holder did not have the block.</returns>
    public bool Remove(BlockKey key, int holder)
    {
        Check(holder);
        var hash = KeyHash.Of(in key);
        return ShardOf(hash).Remove(in key, hash, holder);
    }

    /// <summary>Mask of the holders of a block; bit n stands for holder n.</summary>
    public ulong HoldersOf(BlockKey key)
    {
        var hash = KeyHash.Of(in key);
        return ShardOf(hash).HoldersOf(in key, hash);
    }

    /// <summary>Finds the holders of a chain's blocks, from the first up to the first that nobody holds.</summary>
    /// <param name="ns">Namespace of the blocks.</param>
    /// <param name="hashes">Blocks of one chain, first block first.</param>
    /// <param name="holders">Receives a mask of holders for every block found; as long as <paramref name="hashes"/> or longer.</param>
    /// <param name="among">Holders that count; others are as if they had nothing.</param>
    /// <returns>Number of blocks found.</returns>
    /// <exception cref="ArgumentException"><paramref name="holders"/> is shorter than <paramref name="hashes"/>.</exception>
    public int Match(NamespaceId ns, ReadOnlySpan<BlockHash> hashes, Span<ulong> holders, ulong among = ulong.MaxValue)
    {
        if (holders.Length < hashes.Length)
            throw new ArgumentException($"{hashes.Length} hashes need as many masks of holders, got {holders.Length}.", nameof(holders));

        // Every probe misses the processor's caches. The lines of the next blocks are on their way while this one is compared.
        var start = KeyHash.Start(ns);
        Span<ulong> ahead = stackalloc ulong[Ahead];
        for (var i = 0; i < Math.Min(Ahead, hashes.Length); i++)
            ahead[i] = Fetch(start, in hashes[i]);
        for (var i = 0; i < hashes.Length; i++)
        {
            ref var upcoming = ref ahead[i % Ahead];
            var hash = upcoming;
            if (i + Ahead < hashes.Length)
                upcoming = Fetch(start, in hashes[i + Ahead]);
            var key = new BlockKey(ns, hashes[i]);
            var found = ShardOf(hash).HoldersOf(in key, hash) & among;
            if (found == 0)
                return i;
            holders[i] = found;
        }

        return hashes.Length;
    }

    /// <inheritdoc cref="IPrefixIndex.ApplyAsync"/>
    public void Apply(int holder, ReadOnlySpan<IndexDelta> deltas)
    {
        foreach (ref readonly var delta in deltas)
        {
            _ = delta.Operation switch
            {
                IndexOperation.Added => Add(delta.Key, holder),
                IndexOperation.Removed => Remove(delta.Key, holder),
                IndexOperation.Persisted => Add(delta.Key, RedisHolder),
                IndexOperation.Unpersisted => Remove(delta.Key, RedisHolder),
                _ => false,
            };
        }
    }

    /// <summary>Removes a holder from all blocks: its silo is dead.</summary>
    /// <returns>Number of blocks it had.</returns>
    public int RemoveHolder(int holder) => Sweep(holder, keepMarked: false);

    /// <summary>Makes a full copy the truth about a holder: what is not in it goes.</summary>
    /// <returns>Number of blocks that went.</returns>
    public int Replace(int holder, IEnumerable<BlockKey> keys)
    {
        BeginReplace(holder);
        foreach (var key in keys)
            Add(key, holder);
        return EndReplace(holder);
    }

    /// <summary>
    /// Starts a full copy of a holder's blocks. What it has stays visible until <see cref="EndReplace"/>, which removes every block
    /// that was not added in between; starting again forgets an unfinished copy.
    /// </summary>
    public void BeginReplace(int holder)
    {
        Check(holder);
        foreach (var shard in _shards)
            shard.Unmark(holder);
    }

    /// <summary>Ends a full copy of a holder's blocks.</summary>
    /// <returns>Number of blocks that went.</returns>
    public int EndReplace(int holder) => Sweep(holder, keepMarked: true);

    /// <summary>
    /// Reads the blocks of a holder in chunks of one shard (about 1/256 of them), between which writers go on. A block that the
    /// holder has from the first call to the last is read once; one that comes or goes meanwhile may be read or not.
    /// </summary>
    /// <param name="holder">The holder.</param>
    /// <param name="cursor">Where to go on; 0 at first.</param>
    /// <param name="keys">Receives the keys of the chunk, possibly none.</param>
    /// <returns>False when there was no chunk left.</returns>
    public bool ReadKeys(int holder, ref int cursor, ICollection<BlockKey> keys)
    {
        Check(holder);
        if ((uint)cursor >= (uint)_shards.Length)
            return false;
        _shards[cursor++].CopyKeys(holder, keys);
        return true;
    }

    /// <summary>The same for the blocks of namespaces that somebody has.</summary>
    public bool ReadKeys(Func<NamespaceId, bool> isWanted, ref int cursor, ICollection<BlockKey> keys)
    {
        if ((uint)cursor >= (uint)_shards.Length)
            return false;
        _shards[cursor++].CopyKeys(isWanted, keys);
        return true;
    }

    ValueTask<int> IPrefixIndex.MatchAsync(
        NamespaceId ns, ReadOnlyMemory<BlockHash> hashes, Memory<ulong> holders, CancellationToken cancellationToken) =>
        new(Match(ns, hashes.Span, holders.Span));

    ValueTask IPrefixIndex.ApplyAsync(int holder, ReadOnlyMemory<IndexDelta> deltas, CancellationToken cancellationToken)
    {
        Apply(holder, deltas.Span);
        return ValueTask.CompletedTask;
    }

    private int Sweep(int holder, bool keepMarked)
    {
        Check(holder);
        var removed = 0;
        foreach (var shard in _shards)
            removed += shard.Sweep(holder, keepMarked);
        return removed;
    }

    private ulong Fetch(ulong start, ref readonly BlockHash hash)
    {
        var result = KeyHash.Of(start, in hash);
        ShardOf(result).Prefetch(result);
        return result;
    }

    // Low bits choose the shard, high bits the slot.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private IndexShard ShardOf(ulong hash) => _shards[(int)hash & (_shards.Length - 1)];

    private static void Check(int holder)
    {
        if ((uint)holder >= MaxHolders)
            throw new ArgumentOutOfRangeException(nameof(holder), holder, $"A holder is 0 to {MaxHolders - 1}.");
    }
}
