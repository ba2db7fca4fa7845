using System.Diagnostics;
using System.Runtime.CompilerServices;
using KvCache.Caching;
using KvCache.Client.Caching;
using KvCache.Engine.Storage;

namespace KvCache.Client;

/// <content>Loading layer by layer.</content>
public sealed partial class LocalKvCache
{
    /// <inheritdoc/>
    /// <remarks>The blocks are kept from eviction until the enumerator is disposed, and there are no more of them than fill a quarter of
    /// the memory.</remarks>
    public IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        ObjectDisposedException.ThrowIf(_disposed, this);
        return destinations.Count == 0
            ? AsyncEnumerable.Empty<LoadedLayer>()
            : LoadLayersAsync(prefix, firstBlock, destinations, range, cancellationToken);
    }

    private async IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range,
            [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await ValueTask.CompletedTask.ConfigureAwait(false); // everything is here: nothing to wait for
        cancellationToken.ThrowIfCancellationRequested();
        var began = Stopwatch.GetTimestamp();
        var layout = prefix.Namespace.Layout;
        Enter();
        var leases = new LeaseList();
        try
        {
            Lease(
                prefix.Namespace, prefix.Chain.Hashes.Slice(firstBlock, destinations.Count),
                BeginRequest(prefix, firstBlock, destinations.Count, options: null), leases);
            var reason = leases.Count == destinations.Count ? MissReason.None : MissReason.Absent;
            _meter.Loaded(new LoadResult(leases.Count, reason), destinations.Count, layout, range, began);
            for (var layer = range.First; layer < range.End; layer++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var start = layout.OffsetIn(range, layer);
                for (var i = 0; i < leases.Count; i++)
                    leases[i].Layers(new LayerRange(layer, 1)).CopyTo(destinations[i].Span[start..]);
                yield return new LoadedLayer(layer, leases.Count, reason);
                if (leases.Count == 0)
                    yield break;
            }
        }
        finally
        {
            leases.Dispose(); // before the store may go
            Leave();
        }
    }
}
