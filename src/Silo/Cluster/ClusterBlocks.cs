using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains;
using KvCache.Grains.Cluster;
using KvCache.Silo.Options;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>The cluster's blocks as one silo sees them: the index says whom to ask, the answer of who is asked counts.</summary>
internal sealed partial class ClusterBlocks(
    BlockStore store,
    BlockDirectory directory,
    ClusterMembers members,
    ISiloAgents agents,
    BlockFetcher fetcher,
    Replicator replicator,
    RedisBlocks redis,
    IOptions<ClusterOptions> options,
    ILogger<ClusterBlocks> logger)
    : IClusterBlocks
{
    private const ulong SelfBit = 1UL << BlockDirectory.Self;

    // Under this share of its arena a silo has hardly any room left: the rest is leased, pinned or being written.
    private const int ScarceShare = 8;

    // Hints that may be on their way to other silos at a time.
    private const int MostHints = 256;

    private int _hints;

    public bool HasOthers => members.Peers.Length > 0;

    public bool HearsAll => members.Reachable == members.Peers.Length;

    public SiloAddress? HolderOf(BlockKey key)
    {
        var holders = directory.Index.HoldersOf(key);
        if ((holders & SelfBit) != 0)
            return members.Local;
        return holders == 0 ? null : members.Holders(holders).FirstOrDefault()?.Address;
    }

    public SiloAddress? RoomierSilo()
    {
        var here = store.AvailableBytes;
        return here >= store.Arena.CommittedBytes / ScarceShare ? null : members.BetterOfTwo(here + 1)?.Address;
    }

    public ValueTask<bool> IsStoredElsewhereAsync(BlockKey key, CancellationToken cancellationToken)
    {
        var holders = directory.Index.HoldersOf(key) & ~SelfBit;
        return holders == 0 ? new ValueTask<bool>(false) : ConfirmAsync(key, holders, cancellationToken);
    }

    public ValueTask<WriteState> StateOfWriteAsync(SiloAddress silo, BlockKey key, ulong generation) => silo.Equals(members.Local)
        ? new ValueTask<WriteState>(SiloAgent.StateOf(store, key, generation))
        : AskAsync(silo, agent => agent.StateOfWriteAsync(key, generation));

    public async ValueTask RevokeAsync(SiloAddress silo, BlockKey key, ulong generation)
    {
        if (silo.Equals(members.Local))
        {
            store.Revoke(key, generation);
            return;
        }

        await AskAsync(silo, async agent =>
        {
            await agent.RevokeAsync(key, generation);
            return true;
        });
    }

    public void Stored(BlockKey key, ulong generation, BlockDurability durability, bool replaced)
    {
        if (replaced)
        {
            Supersede(key, generation, durability);
            directory.Colder?.Wait();
        }

        if (durability.Persisted)
            redis.Persist(key);
        if (durability.Copies > 1)
            replicator.Want(key);
    }

    public async ValueTask<ItemOutcome[]> DeleteAsync(IReadOnlyList<BlockKey> keys, CancellationToken cancellationToken)
    {
        var all = keys.ToArray();
        var stamp = store.NewGeneration();
        var latest = stamp;

        // Who hears of the deletion by gossip before it is asked has nothing left to delete: what the index knew counts too.
        var live = members.LiveMask;
        var deleted = Array.ConvertAll(all, key => (directory.Index.HoldersOf(key) & live) != 0);
        var known = new bool[all.Length];
        var here = SiloAgent.ReportOf(directory, all, stamp);
        Merge(here);

        // Everybody is asked, not only who is known to have a block: a block that became visible there a moment ago is not known here yet.
        // Redis is told at the same time, also of what the index does not know it to have: it may have more than the index holds.
        var redisGone = redis.DeleteAsync(all, cancellationToken);
        var answers = await Task.WhenAll(members.Peers.Select(
            async peer => (Peer: peer, Report: await AskAsync(peer.Address, agent => agent.DeleteAsync(all, stamp)).ConfigureAwait(false))))
            .ConfigureAwait(false);
        foreach (var (_, report) in answers)
        {
            if (report is not null)
                Merge(report);
            else
                Array.Fill(known, true); // it may have them all
        }

        // Told once, by who has asked. What nobody has, and nobody is about to have, need not be remembered by anybody for long.
        for (var i = 0; i < all.Length; i++)
        {
            if (known[i])
                directory.Announce(all[i], latest);
            else
                directory.Tombstones.BuryAbsent(all[i], latest);
        }

        var confirmed = await BuryEverywhereAsync([.. all.Where((_, i) => known[i])], latest, answers).ConfigureAwait(false)
            & await redisGone.ConfigureAwait(false) & !here.IsUnwritten;
        if (confirmed)
            await members.LeftAreSilent.WaitAsync(cancellationToken).ConfigureAwait(false);
        return confirmed && !store.Term.IsOver
            ? Array.ConvertAll(deleted, was => was ? ItemOutcome.Done : ItemOutcome.Nothing)
            : [.. Enumerable.Repeat(ItemOutcome.Unconfirmed, all.Length)];

        void Merge(DeletionReport report)
        {
            if (report.Known.Contains(true))
                latest = Math.Max(latest, report.Stamp);
            for (var i = 0; i < all.Length; i++)
            {
                deleted[i] |= report.Removed[i];
                known[i] |= report.Known[i];
            }
        }
    }

    // Some silo had later generations than the deletion's stamp: a silo whose clock is behind, and may get a copy of one, has to hear it
    // before the deletion is confirmed. Clocks that are in step, or have heard of each other, need no second question.
    private async Task<bool> BuryEverywhereAsync(
        BlockKey[] keys, ulong stamp, IReadOnlyList<(PeerSilo Peer, DeletionReport? Report)> answers)
    {
        var all = await Task.WhenAll(answers.Select(async answer =>
            (answer.Report is { IsUnwritten: false } && (keys.Length == 0 || answer.Report.Stamp >= stamp
                || await AskAsync(answer.Peer.Address, agent => agent.BuryAsync(keys, stamp)).ConfigureAwait(false)))

            // Declared dead meanwhile: it has nothing any more.
            || members.Find(answer.Peer.Address) is null)).ConfigureAwait(false);
        return all.All(confirmed => confirmed);
    }

    public async ValueTask<bool> PinAsync(BlockKey key, TimeSpan duration, CancellationToken cancellationToken)
    {
        if (store.Pin(key, duration))
            return true;
        var holders = directory.Index.HoldersOf(key);
        if ((holders & SelfBit) != 0)
        {
            // It is in memory, and pins have their share; or on the disk.
            using var read = duration > TimeSpan.Zero && !store.Contains(key) ? await FetchAsync(key, cancellationToken) : null;
            return read is not null && store.Pin(key, duration);
        }

        foreach (var peer in members.Holders(holders))
        {
            if (await AskAsync(peer.Address, agent => agent.PinAsync(key, duration)))
                return true;
        }

        if ((holders & BlockRun.Redis) == 0 || duration <= TimeSpan.Zero)
            return false;
        using var lease = await FetchAsync(key, cancellationToken);
        return lease is not null && store.Pin(key, duration);
    }

    public bool OutlivesSilos(BlockKey key) =>
        redis.Exists && ((directory.Index.HoldersOf(key) & BlockRun.Redis) != 0 || redis.IsUnderWay(key));

    public async ValueTask<ItemOutcome[]> SetTimeToLiveAsync(
        IReadOnlyList<BlockKey> keys, TimeSpan timeToLive, CancellationToken cancellationToken)
    {
        // Everybody is asked, as for a deletion, and so is Redis: what has got somewhere a moment ago, or is on its way, is not known here.
        var all = keys.ToArray();
        var stamp = store.NewGeneration();
        var live = members.LiveMask;
        var inRedis = Task.WhenAll(all.Select(key => redis.SetTimeToLiveAsync(key, timeToLive)));
        Task<bool?[]>[] asked = [inRedis, fetcher.SetTimeToLiveAsync(all, timeToLive, stamp), .. members.Peers.Select(AskLiveAsync)];
        var answers = await Task.WhenAll(asked).WaitAsync(cancellationToken).ConfigureAwait(false);
        return [.. all.Select((_, i) => Array.Exists(answers, answer => answer[i] is null) ? ItemOutcome.Unconfirmed
            : Array.Exists(answers, answer => answer[i] == true) ? ItemOutcome.Done
            : ItemOutcome.Nothing)];

        // A silo that says nothing may have them, unless it is declared dead meanwhile.
        async Task<bool?[]> AskLiveAsync(PeerSilo peer) => ((live & peer.Bit) == 0 ? null : await AskAsync(
            peer.Address, agent => agent.SetTimeToLiveAsync(all, timeToLive, stamp)).ConfigureAwait(false))
            ?? [.. Enumerable.Repeat<bool?>(members.Find(peer.Address) is null ? false : null, all.Length)];
    }

    public void PassHint(ulong silo, BlockKey last, CacheHint hint, bool ends)
    {
        // What a client makes silos tell each other is bounded; advice is what can be left out.
        if (Interlocked.Increment(ref _hints) <= MostHints)
            _ = PassAsync();
        else
            Interlocked.Decrement(ref _hints);

        async Task PassAsync()
        {
            try
            {
                foreach (var peer in members.Holders(silo))
                    await AskAsync(peer.Address, agent => agent.HintAsync(last, SiloHint.Of(hint, ends))).ConfigureAwait(false);
            }
            finally
            {
                Interlocked.Decrement(ref _hints);
            }
        }
    }

    public ValueTask<BlockLease?> FetchAsync(BlockKey key, CancellationToken cancellationToken)
    {
        if (store.TryLease(key) is { } lease)
            return new ValueTask<BlockLease?>(lease);
        if ((directory.Index.HoldersOf(key) & ~SelfBit) == 0 && !fetcher.IsHere(key))
            return new ValueTask<BlockLease?>(store.TryLease(key)); // it may have come between the two looks
        return new ValueTask<BlockLease?>(Task.Factory.StartNew(
            () => fetcher.Fetch(key.Namespace, [key.Hash]), cancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default));
    }

    private async ValueTask<bool> ConfirmAsync(BlockKey key, ulong holders, CancellationToken cancellationToken)
    {
        foreach (var peer in members.Holders(holders))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (await AskAsync(peer.Address, agent => agent.ContainsAsync(key)))
                return true;
        }

        return (holders & BlockRun.Redis) != 0 && await redis.ContainsAsync(key);
    }

    private void Supersede(BlockKey key, ulong generation, BlockDurability durability)
    {
        // Also where nobody is known to have it: another silo may have stored one a moment ago, or comes back with an older one on its
        // disk; or an older one is on its way to Redis.
        if ((directory.Index.HoldersOf(key) & ~SelfBit) != 0 || options.Value.Mode != ClusterMode.None || durability.Persisted)
            directory.Supersede(key, generation);
    }

    private async ValueTask<T?> AskAsync<T>(SiloAddress silo, Func<ISiloAgent, ValueTask<T>> question)
    {
        try
        {
            return await question(agents.Of(silo)).AsTask().WaitAsync(options.Value.AskTimeout);
        }
        catch (Exception e) when (LostCalls.IsLost(e))
        {
            LogNoAnswer(silo.ToString(), e.Message);
            return default;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} did not answer: {Reason}")]
    private partial void LogNoAnswer(string silo, string reason);
}
