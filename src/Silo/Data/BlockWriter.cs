using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Grains.Cluster;
using KvCache.Orleans;
using KvCache.Silo.Cluster;
using KvCache.Silo.Options;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Data;

/// <summary>What is to become of a block that is being stored.</summary>
/// <param name="TimeToLive">Life from the moment it becomes visible; null for as long as memory lasts.</param>
/// <param name="Durability">What its writer asked for beyond memory.</param>
/// <param name="Replace">A stored block gives way, on every silo, instead of being the answer.</param>
/// <param name="KeepLife">A stored block keeps the life that it has, instead of getting <paramref name="TimeToLive"/> too.</param>
internal readonly record struct BlockTerms(
    TimeSpan? TimeToLive = null, BlockDurability Durability = default, bool Replace = false, bool KeepLife = false);

/// <summary>A block between its reservation and its publication.</summary>
internal sealed class PendingBlock
{
    private int _completeLayers;

    /// <summary>Memory of the block; null when nothing was reserved.</summary>
    public BlockWrite? Write { get; init; }

    public BlockTerms Terms { get; init; }

    public Task<WriteGrant>? Begin { get; init; }

    /// <summary>Why nothing was reserved; only meaningful without a write.</summary>
    public PutOutcome Refusal { get; init; }

    /// <summary>Lets followers read its first layers, now or as soon as the write is granted.</summary>
    public void Complete(int layers)
    {
        var isFirst = _completeLayers == 0;
        Volatile.Write(ref _completeLayers, layers);
        if (Begin!.IsCompleted)
            CompleteGranted();
        else if (isFirst)
            Begin.ContinueWith(
                static (_, block) =>
                ((PendingBlock)block!).CompleteGranted(), this, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
    }

    /// <summary>Whether there is still a reason to receive its bytes.</summary>
    public bool Wanted => Write is not null && !(Begin!.IsCompletedSuccessfully && Begin.Result.Outcome != BeginOutcome.Accepted);

    private void CompleteGranted()
    {
        if (Begin!.IsCompletedSuccessfully && Begin.Result.Outcome == BeginOutcome.Accepted)
            Write!.Complete(Volatile.Read(ref _completeLayers));
    }
}

/// <summary>
/// How every front end stores a block: reserve memory here, ask the grain of the prefix, receive, publish. The grain grants a write and
/// revokes it in the store when it must not become visible any more; what was granted is published by the store alone.
/// </summary>
/// <remarks>
/// A replacing write asks no grain. A grain decides who of several may write a block; of several that replace it all may, and the order in
/// which the store publishes them decides which stays: publication gives the write a generation above every generation and every deletion
/// that this silo has heard of, buries what is older everywhere, and is buried by any later deletion. A write that a grain has granted at
/// the same time finds the block stored when it is published.
/// </remarks>
internal sealed partial class BlockWriter(
    BlockStore store, IGrainFactory grains, ILocalSiloDetails silo, IClusterBlocks cluster, IOptions<ClusterOptions> options,
    ILogger<BlockWriter> logger)
{
    private static readonly Task<WriteGrant> Granted = Task.FromResult(new WriteGrant(BeginOutcome.Accepted, 0));

    /// <summary>Names the request of a put, for eviction to learn from.</summary>
    public long BeginRequest(in PutRequest put) => store.BeginRequest(
        put.Namespace.Id, put.Lineage.Parent, put.Hashes,
        new RequestFacts(put.Namespace.Layout.TokensPerBlock, put.Lineage.RequestId, put.Lineage.SuffixTokens, put.Hint));

    /// <summary>Reserves memory, and asks the grain while the bytes are on their way.</summary>
    public PendingBlock Begin(
        BlockKey key, KvLayout layout, BlockLineage lineage, BlockTerms terms, CancellationToken cancellationToken, long request = 0)
    {
        var outcome =
            store.TryBegin(
            key, layout, lineage, terms.Replace, out var write, request,
            insists: terms.Durability is { Persisted: true } or { Copies: > 1 });
        if (write is null)
        {
            var refusal = RefusalOf(outcome);
            return new PendingBlock
            {
                Refusal = refusal.IsNoRoom() && Arena.RoundUp(layout.BlockBytes) > store.Arena.Capacity ? PutOutcome.TooLarge : refusal,
            };
        }

        return new PendingBlock { Write = write, Terms = terms, Begin = terms.Replace ? Granted : AskAsync(write, cancellationToken) };
    }

    /// <summary>
    /// Publishes a replacing write whose bytes and checksums are complete, by terms that were not known when it began: they may make it one
    /// that gives way to a stored block, for which the grain is asked now. Blocks the thread.
    /// </summary>
    public PutOutcome Finish(PendingBlock block, BlockTerms terms, CancellationToken cancellationToken)
    {
        if (block.Write is not { } write)
            return block.Refusal;
        if (!terms.Replace)
            return FinishAsync(
                new PendingBlock { Write = write, Terms = terms, Begin = AskAsync(write, cancellationToken) }, intact: true,
                Task.CompletedTask).GetAwaiter().GetResult();
        using (write)
            return Publish(write, terms);
    }

    /// <summary>Publishes a block whose bytes and checksums are complete, or gives its memory back.</summary>
    /// <param name="block">The block.</param>
    /// <param name="intact">Whether its bytes arrived whole and matched their checksums.</param>
    /// <param name="before">Ends when the block before it in its chain is visible, or will not be.</param>
    public async Task<PutOutcome> FinishAsync(PendingBlock block, bool intact, Task before)
    {
        if (block.Write is not { } write)
            return block.Refusal;
        using (write)
        {
            try
            {
                var grant = await block.Begin!;
                if (grant.Outcome != BeginOutcome.Accepted)
                    return RefusalOf(grant.Outcome);

                if (!intact)
                    return PutOutcome.Corrupt;
                await before;
                return Publish(write, block.Terms);
            }
            catch (Exception e)
            {
                // A defect, or the end of the connection: the block is not stored, the put goes on.
                LogPutFailed(e, write.Key.Namespace, write.Key.Hash.ToShortString());
                return PutOutcome.Failed;
            }
        }
    }

    /// <summary>Gives blocks that were stored already the life of the put that found them, without waiting until everybody has heard of
    /// it.</summary>
    public void RefreshLife(IReadOnlyList<BlockKey> keys, BlockTerms terms)
    {
        if (keys.Count > 0 && terms is { TimeToLive: { } life, KeepLife: false })
            _ = cluster.SetTimeToLiveAsync(keys, life).AsTask();
    }

    private static PutOutcome RefusalOf(BeginOutcome outcome) => outcome switch
    {
        BeginOutcome.AlreadyStored => PutOutcome.AlreadyStored,
        BeginOutcome.BeingWritten => PutOutcome.BeingWritten,
        BeginOutcome.NoRoomInPrefix => PutOutcome.NoRoomInPrefix,
        BeginOutcome.NoRoomInShare => PutOutcome.NoRoomInShare,
        BeginOutcome.NotWorthRoom => PutOutcome.NotWorthRoom,
        _ => PutOutcome.NoMemory,
    };

    private Task<WriteGrant> AskAsync(BlockWrite write, CancellationToken cancellationToken)
    {
        if (cluster.HasOthers)
            return AskGrainAsync(write, cancellationToken);

        // The store has just decided what the grain of the only silo would: that nobody else writes the block. What is left is Redis.
        var stored = cluster.IsStoredElsewhereAsync(write.Key, cancellationToken);
        return stored is { IsCompletedSuccessfully: true, Result: false } ? Granted : UnlessStoredAsync(stored);

        static async Task<WriteGrant> UnlessStoredAsync(ValueTask<bool> stored) =>
            new(await stored ? BeginOutcome.AlreadyStored : BeginOutcome.Accepted, 0);
    }

    // A grain that cannot be reached, because its silo has just died or stands still, forbids nothing: blocks are immutable, a second copy
    // does no harm, and a deletion meanwhile still keeps the block from becoming visible.
    private async Task<WriteGrant> AskGrainAsync(BlockWrite write, CancellationToken cancellationToken)
    {
        var intent = new WriteIntent { Generation = write.Generation, Silo = silo.SiloAddress };
        try
        {
            return await grains.GetPrefix(write.Key).BeginAsync(intent, cancellationToken).AsTask()
                .WaitAsync(cluster.HearsAll ? options.Value.AskTimeout : options.Value.UnheardAskTimeout, cancellationToken);
        }
        catch (Exception e) when (LostCalls.IsLost(e, cancellationToken))
        {
            LogUnasked(write.Key.Namespace, write.Key.Hash.ToShortString(), e.Message);
            return new WriteGrant(BeginOutcome.Accepted, write.Generation);
        }
    }

    private PutOutcome Publish(BlockWrite write, BlockTerms terms)
    {
        var outcome = store.Publish(write.Key, write.Generation, terms.TimeToLive, terms.Durability, terms.Replace);
        if (outcome != PublishOutcome.Published)
            return outcome == PublishOutcome.AlreadyStored ? PutOutcome.AlreadyStored : PutOutcome.Revoked;
        cluster.Stored(write.Key, write.Generation, terms.Durability, terms.Replace);
        return PutOutcome.Stored;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Block {Namespace}/{Hash} could not be stored")]
    private partial void LogPutFailed(Exception exception, NamespaceId @namespace, string hash);

    [LoggerMessage(
        Level = LogLevel.Warning, Message = "The grain of block {Namespace}/{Hash} cannot be asked, the block is stored here: {Reason}")]
    private partial void LogUnasked(NamespaceId @namespace, string hash, string reason);
}
