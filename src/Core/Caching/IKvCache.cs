using System.Runtime.CompilerServices;
using KvCache.Caching;

namespace KvCache;

/// <summary>
/// A cache of KV blocks: in this process (<c>LocalKvCache</c>), in a silo or a cluster (<c>KvCacheClient</c>), in a plain Redis
/// (<c>RedisKvCache</c>), or one over the other (<c>TieredKvCache</c>). Engines program against this interface.
/// </summary>
/// <remarks>
/// A cache that is down, slow or lying is a miss, never an exception: every method returns what it could do and why not more.
/// The exceptions are misuse (<see cref="ArgumentException"/> and its kin, docs/client.md has a table), calls of a cache that is disposed
/// (<see cref="ObjectDisposedException"/>; those that are under way meanwhile end as misses) and the caller's own cancellation
/// (<see cref="OperationCanceledException"/>). When a method returns or throws, nothing reads or writes the caller's memory any more.
/// </remarks>
public interface IKvCache : IAsyncDisposable, IDisposable
{
    /// <summary>What this cache can do beyond what all of them do.</summary>
    CacheCapabilities Capabilities { get; }

    /// <summary>How much of a prefix is stored, counted from its first block.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="hold">Time that the found blocks are kept from eviction; zero only looks.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>The match. Dispose it to end the hold early.</returns>
    ValueTask<CacheMatch> MatchAsync(KvPrefix prefix, TimeSpan hold = default, CancellationToken cancellationToken = default);

    /// <summary>How much of a prompt all ranks of a group have stored, counted from the first block. Load and store go rank by
    /// rank.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="chain">The prompt.</param>
    /// <param name="hold">Time that the found blocks of every rank are kept from eviction; zero only looks.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>The match: the least of the ranks' answers. Dispose it to end the hold early.</returns>
    ValueTask<CacheMatch> MatchAsync(
        RankGroup group, PrefixChain chain, TimeSpan hold = default, CancellationToken cancellationToken = default);

    /// <summary>Loads consecutive blocks, up to the first that cannot be had.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="destinations">Memory for each block, exactly as large as <paramref name="layers"/> of a block.</param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, which is then read in one round trip: nothing is looked for once more, and
    /// the hold ends with the last block that it has found. Null for none.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>How many blocks are complete and verified. The memory of the others has undefined content.</returns>
    /// <exception cref="ArgumentException">Sizes do not fit the layout, or there are more destinations than blocks.</exception>
    ValueTask<LoadResult> LoadAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Loads consecutive blocks layer by layer: the first layer of all blocks, then the second of all, so that an engine computes with the
    /// first layer while later ones are on the way.
    /// </summary>
    /// <remarks>
    /// <para>
    /// There is one item for each layer, in order, as soon as the layer is there; loading does not wait for the reader. A layer that could
    /// be had in no block is the last item
    /// (<see cref="LoadedLayer.Blocks"/> is 0 and the reason says why). A block comes from one write, all its layers together.
    /// </para>
    /// <para>
    /// Dispose the enumerator, as <c>await foreach</c> does: leaving early ends the load. When the enumerator is disposed, nothing writes
    /// the memory any more. Until then
    /// the caller reads in it and does not change it: a near cache takes its copy when the last layer is there.
    /// </para>
    /// <para>The load begins when the first layer is asked for. Caches that do not load by layers hand all of them out when the whole
    /// blocks are there.</para>
    /// </remarks>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block to load.</param>
    /// <param name="destinations">
    /// Memory for each block, exactly as large as <paramref name="layers"/> of a block. A layer lands where it lies in a block that has
    /// these layers only.
    /// </param>
    /// <param name="layers">Layers to load; null for all.</param>
    /// <param name="match">A match of this cache with a hold, as in <see cref="LoadAsync"/>; null for none.</param>
    /// <param name="cancellationToken">Cancels the load.</param>
    /// <exception cref="ArgumentException">Sizes do not fit the layout, or there are more destinations than blocks.</exception>
    IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        // Not an iterator: wrong arguments are told at once.
        BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        return destinations.Count == 0 ? AsyncEnumerable.Empty<LoadedLayer>() : LoadWholeAsync(cancellationToken);

        async IAsyncEnumerable<LoadedLayer> LoadWholeAsync([EnumeratorCancellation] CancellationToken token)
        {
            var result = await LoadAsync(prefix, firstBlock, destinations, layers, match, token).ConfigureAwait(false);
            var range = layers ?? prefix.Namespace.Layout.AllLayers;
            for (var layer = range.First; layer < range.End; layer++)
            {
                yield return new LoadedLayer(layer, result.Blocks, result.Reason) { Error = result.Error };
                if (result.Blocks == 0)
                    yield break;
            }
        }
    }

    /// <summary>
    /// Loads consecutive blocks layer by layer, as <see cref="LoadLayersAsync"/> does, and follows those that are still being written:
    /// their layers come as the writer hands them over
    /// (<see cref="StoreLayersAsync"/>). For the hand-off of a prompt from the node that computes it to the node that goes on with it.
    /// </summary>
    /// <remarks>
    /// The last layer comes when the blocks are whole and stored. A write that is given up or revoked, or that arrives damaged, ends the
    /// load: the last item has no blocks and
    /// <see cref="MissReason.Absent"/>, and what came before is worthless. So use nothing for good before the last layer is there. Caches
    /// that cannot follow load what is stored.
    /// </remarks>
    /// <inheritdoc cref="LoadLayersAsync"/>
    IAsyncEnumerable<LoadedLayer> FollowLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null,
        CancellationToken cancellationToken = default) =>
        LoadLayersAsync(prefix, firstBlock, destinations, layers, match: null, cancellationToken);

    /// <summary>Stores consecutive blocks whose layers become ready one after another, each layer as soon as it is ready.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block given.</param>
    /// <param name="blocks">Memory of each block, in the order of the layout. A layer is read from the moment it is said to be ready until
    /// the call returns.</param>
    /// <param name="ready">
    /// Says which layer is ready now, in all blocks, and with it all layers before it. When it ends before the last layer the store is
    /// given up: nothing becomes visible.
    /// </param>
    /// <param name="options">Time to live, where the blocks are to survive, and what eviction should know; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>What became of the blocks; the reason is <see cref="MissReason.Absent"/> when the store was given up.</returns>
    /// <remarks>Exceptions of <paramref name="ready"/> give the store up and are passed on. Caches that do not store by layers wait for the
    /// last one.</remarks>
    /// <exception cref="ArgumentException">As with <see cref="StoreAsync"/>.</exception>
    async ValueTask<StoreResult> StoreLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, IAsyncEnumerable<int> ready,
            StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        ArgumentNullException.ThrowIfNull(ready);
        var last = -1;
        await foreach (var layer in ready.WithCancellation(cancellationToken).ConfigureAwait(false))
            last = Math.Max(last, layer);
        return last < prefix.Namespace.Layout.Layers - 1
            ? new StoreResult { Reason = MissReason.Absent }
            : await StoreAsync(prefix, firstBlock, blocks, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Stores consecutive blocks. All of them are sent, also those that turn out to be stored already: begin behind what a match
    /// has found.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="firstBlock">Index of the first block given.</param>
    /// <param name="blocks">Bytes of each block, in the order of the layout.</param>
    /// <param name="options">Time to live, where the blocks are to survive, and what eviction should know; null for the defaults.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">
    /// Sizes do not fit the layout, there are more blocks than the prefix has, or <see cref="StoreOptions.Replicas"/> is not 1 to 16.
    /// </exception>
    ValueTask<StoreResult> StoreAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
        CancellationToken cancellationToken = default);

    /// <summary>Keeps the blocks of a prefix from eviction.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="duration">How long; zero ends the pin. Rounded up to milliseconds.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>Number of blocks for which it worked.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="duration"/> is less than zero.</exception>
    ValueTask<int> PinAsync(KvPrefix prefix, TimeSpan duration, CancellationToken cancellationToken = default);

    /// <summary>Sets the life of the blocks of a prefix, from now on and wherever they are.</summary>
    /// <param name="prefix">The prefix.</param>
    /// <param name="timeToLive">The life, more than zero; null for as long as memory lasts. Rounded up to milliseconds.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>Number of blocks that are stored and have this life now, everywhere. One that a silo may have which did not answer does not
    /// count: there it may keep the life that it had.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="timeToLive"/> is zero or less.</exception>
    ValueTask<int> ExpireAsync(KvPrefix prefix, TimeSpan? timeToLive, CancellationToken cancellationToken = default);

    /// <summary>
    /// Tells what is known only after the answer: how it ended, and what follows from that for its prefix. What is known earlier comes with
    /// the other calls (<see cref="KvPrefix.Hint"/>).
    /// </summary>
    /// <param name="prefix">The prefix of the request; what of it is stored counts.</param>
    /// <param name="hint">What is known.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <remarks>Advice, which may be lost. It fails nobody, and waits no longer than a match does.</remarks>
    ValueTask HintAsync(KvPrefix prefix, CacheHint hint, CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckHint(prefix, hint);
        cancellationToken.ThrowIfCancellationRequested();
        return default;
    }

    /// <summary>Deletes all blocks of a namespace. What is stored meanwhile may stay.</summary>
    /// <param name="ns">The namespace.</param>
    /// <param name="cancellationToken">Stops waiting; the deletion may go on.</param>
    /// <returns>How many are deleted so far, and whether that is all. A large namespace takes longer than a call: it goes on, and a later
    /// call tells when nothing is left.</returns>
    ValueTask<DeleteResult> ClearAsync(CacheNamespace ns, CancellationToken cancellationToken = default);

    /// <summary>Deletes the blocks of a prefix.</summary>
    /// <returns>How many were stored and are deleted, and whether it is certain of all.</returns>
    ValueTask<DeleteResult> DeleteAsync(KvPrefix prefix, CancellationToken cancellationToken = default);

    /// <summary>What this cache has done so far, and what the silo says of itself.</summary>
    ValueTask<KvCacheStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default);

    /// <summary>Counts from zero again. What other processes count goes on.</summary>
    void ResetStatistics();

    /// <summary>Asks the cache for an answer: for probes, not before a call. Takes no longer than a match may.</summary>
    /// <param name="cancellationToken">Cancels the question.</param>
    ValueTask<CacheHealth> GetHealthAsync(CancellationToken cancellationToken = default);
}
