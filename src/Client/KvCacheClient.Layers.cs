using System.Diagnostics;
using System.Runtime.CompilerServices;
using KvCache.Caching;
using KvCache.Client.Caching;
using KvCache.Client.Cluster;
using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client;

/// <content>Loading layer by layer.</content>
public sealed partial class KvCacheClient
{
    /// <inheritdoc/>
    /// <remarks>At most 16,384 blocks: every layer comes for all of them before the next one does.</remarks>
    public IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default) =>
        ReadLayers(prefix, firstBlock, destinations, layers, match, follow: false, cancellationToken);

    /// <inheritdoc/>
    /// <remarks>The home silo is asked, and only writes that run there are followed: reader and writer name the same silo first.</remarks>
    public IAsyncEnumerable<LoadedLayer> FollowLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null,
        CancellationToken cancellationToken = default) =>
        ReadLayers(prefix, firstBlock, destinations, layers, match: null, follow: true, cancellationToken);

    /// <inheritdoc/>
    /// <remarks>All of it has the time of one store (<see cref="KvCacheClientOptions.StoreTimeout"/>), the waits for layers included. At
    /// most 1,024 blocks.</remarks>
    public async ValueTask<StoreResult> StoreLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, IAsyncEnumerable<int> ready,
            StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= Defaults;
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        ArgumentNullException.ThrowIfNull(ready);
        Check(cancellationToken);
        if (blocks.Count > WireProtocol.MaxBlocksByLayers)
            throw new ArgumentException(
                $"{blocks.Count} blocks are to be stored by layers; at most {WireProtocol.MaxBlocksByLayers} are possible.",
                nameof(blocks));
        if (blocks.Count == 0)
            return default;
        var began = Stopwatch.GetTimestamp();
        var result = await new LayerStore(_silos, prefix, firstBlock, blocks, options, _options.StoreTimeout)
            .RunAsync(ready, cancellationToken).ConfigureAwait(false);
        result = result with { Error = _silos.Failure.Of(result.Reason, began) };
        _meter.DidStore(result, blocks.Count, prefix.Namespace.Layout.BlockBytes, began);
        return result;
    }

    // Not an iterator: wrong arguments are told at once.
    private IAsyncEnumerable<LoadedLayer> ReadLayers(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers, CacheMatch? match, bool follow,
            CancellationToken cancellationToken)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (destinations.Count > WireProtocol.MaxBlocksPerRequest)
        {
            throw new ArgumentException(
                $"{destinations.Count} blocks are to be loaded by layers; at most {WireProtocol.MaxBlocksPerRequest} are possible. Load "
                    + "them in several runs.", nameof(destinations));
        }

        return destinations.Count == 0
            ? AsyncEnumerable.Empty<LoadedLayer>()
            : ReadLayersAsync(prefix, firstBlock, destinations, range, match?.Origin as MatchedChain, follow, cancellationToken);
    }

    private async IAsyncEnumerable<LoadedLayer> ReadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, MatchedChain? matched, bool follow,
            [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Check(cancellationToken);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var budget = new CallBudget(_options.LoadTimeout, _options.SiloPatience, ending.Token);
        var board = new LayerBoard(destinations.Count, range);
        var loading = RunAsync();
        var isComplete = false;
        try
        {
            for (var layer = range.First; layer < range.End; layer++)
            {
                var loaded = await board.NextAsync(layer).ConfigureAwait(false);
                if (loaded.Blocks < destinations.Count)
                    cancellationToken.ThrowIfCancellationRequested();
                isComplete = layer == range.End - 1 && loaded.Blocks == destinations.Count;
                yield return loaded with { Error = _silos.Failure.Of(loaded.Reason, budget.Began) };
                if (loaded.Blocks == 0)
                    yield break;
            }
        }
        finally
        {
            if (!isComplete)
                await ending.CancelAsync().ConfigureAwait(false); // what is still on the way is of no use
            await loading.ConfigureAwait(false);
        }

        async Task RunAsync()
        {
            var result = await new LayerLoad(_silos, prefix, firstBlock, destinations, range, budget, board, matched)
                .RunAsync(follow).ConfigureAwait(false);
            if (!ending.IsCancellationRequested)
                _meter.Loaded(WithError(result, budget.Began), destinations.Count, prefix.Namespace.Layout, range, budget.Began);
        }
    }
}
