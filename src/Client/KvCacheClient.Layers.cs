using System.Runtime.CompilerServices;

namespace KvCache.Client;

/// <content>Loading layer by layer.</content>
public sealed partial class KvCacheClient
{
    /// <inheritdoc/>
    public IAsyncEnumerable<LoadedLayer> LoadLayersAsync(KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CancellationToken cancellationToken = default)
    {
        var range = layers ?? prefix.Namespace.Layout.AllLayers;
        BlockArguments.CheckLoad(prefix, firstBlock, destinations, range);
        return destinations.Count == 0 ? AsyncEnumerable.Empty<LoadedLayer>() : LoadLayersAsync(prefix, firstBlock, destinations, range, cancellationToken);
    }

    private async IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
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
                yield return loaded;
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
            var result = await new LayerLoad(_silos, prefix, firstBlock, destinations, range, budget, board).RunAsync().ConfigureAwait(false);
            if (!ending.IsCancellationRequested)
                _meter.Loaded(result, destinations.Count, prefix.Namespace.Layout.RangeBytes(range), budget.Began);
        }
    }
}
