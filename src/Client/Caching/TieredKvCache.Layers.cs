using System.Runtime.CompilerServices;
using KvCache.Caching;
using KvCache.Client.Caching;

namespace KvCache.Client;

/// <content>Loading layer by layer.</content>
public sealed partial class TieredKvCache
{
    /// <inheritdoc/>
    /// <remarks>The blocks that the near cache has at the first layer come from it, the rest from the far one; the latter are kept near
    /// when their last layer is there.</remarks>
    public IAsyncEnumerable<LoadedLayer> LoadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
        CancellationToken cancellationToken = default)
    {
        var range = BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        CheckOpen();
        return ReadLayersAsync(prefix, firstBlock, destinations, range, match, cancellationToken);
    }

    private async IAsyncEnumerable<LoadedLayer> ReadLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange range, CacheMatch? match,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        CheckOpen();
        var nearLayers = OrMissAsync(
            () => _near.LoadLayersAsync(prefix, firstBlock, destinations, range, null, cancellationToken), range.First, cancellationToken)
            .GetAsyncEnumerator(cancellationToken);
        await using var nearEnd = nearLayers.ConfigureAwait(false);
        if (!await nearLayers.MoveNextAsync().ConfigureAwait(false))
            yield break;
        var kept = nearLayers.Current.Blocks;
        var rest = destinations.Skip(kept).ToArray();
        var epoch = _refills.Current;
        var farLayers = OrMissAsync(
            () => _far.LoadLayersAsync(prefix, firstBlock + kept, rest, range, match?.Origin as CacheMatch, cancellationToken),
            range.First, cancellationToken).GetAsyncEnumerator(cancellationToken);
        await using var farEnd = farLayers.ConfigureAwait(false);
        var (nearBlocks, farBlocks, far) = (kept, rest.Length, default(LoadedLayer));
        for (var layer = range.First; layer < range.End; layer++)
        {
            if (layer > range.First && nearBlocks > 0 && await nearLayers.MoveNextAsync().ConfigureAwait(false))
                nearBlocks = nearLayers.Current.Blocks;
            if (farBlocks > 0 && await farLayers.MoveNextAsync().ConfigureAwait(false))
                (farBlocks, far) = (farLayers.Current.Blocks, farLayers.Current);
            var blocks = nearBlocks < kept ? nearBlocks : kept + farBlocks;
            if (layer == range.End - 1 && farBlocks > 0 && range == prefix.Namespace.Layout.AllLayers)
                await RefillAsync(prefix, firstBlock + kept, rest.AsMemory(0, farBlocks), epoch, cancellationToken).ConfigureAwait(false);
            yield return (nearBlocks < kept ? nearLayers.Current : far) with { Layer = layer, Blocks = blocks };
            if (blocks == 0)
                yield break;
        }
    }

    /// <inheritdoc/>
    /// <remarks>From the far cache, where other nodes write.</remarks>
    public IAsyncEnumerable<LoadedLayer> FollowLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null,
        CancellationToken cancellationToken = default)
    {
        BlockArguments.CheckLoad(prefix, firstBlock, destinations, layers);
        CheckOpen();
        return _far.FollowLayersAsync(prefix, firstBlock, destinations, layers, cancellationToken);
    }

    /// <inheritdoc/>
    /// <remarks>Into the far cache as the layers become ready, and into the near one when all of them are.</remarks>
    public async ValueTask<StoreResult> StoreLayersAsync(
        KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, IAsyncEnumerable<int> ready,
            StoreOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new StoreOptions();
        BlockArguments.CheckStore(prefix, firstBlock, blocks, options);
        ArgumentNullException.ThrowIfNull(ready);
        CheckOpen();
        var result = await OrAsync(
            () => _far.StoreLayersAsync(prefix, firstBlock, blocks, ready, options, cancellationToken), NotStored).ConfigureAwait(false);
        if (result.Reason == MissReason.None)
            await StoreNearAsync(prefix, firstBlock, blocks, options, cancellationToken).ConfigureAwait(false);
        return result;
    }

    // As OrAsync.
    private static async IAsyncEnumerable<LoadedLayer> OrMissAsync(
        Func<IAsyncEnumerable<LoadedLayer>> load, int firstLayer, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        IAsyncEnumerator<LoadedLayer>? layers = null;
        try
        {
            for (var next = firstLayer; ; next++)
            {
                var has = await OrAsync<bool?>(
                    async () => await (layers ??= load().GetAsyncEnumerator(cancellationToken)).MoveNextAsync().ConfigureAwait(false), null)
                    .ConfigureAwait(false);
                if (has is false)
                    yield break;
                yield return has is true ? layers!.Current : new LoadedLayer(next, 0, MissReason.Unavailable);
                if (has is null)
                    yield break;
            }
        }
        finally
        {
            if (layers is not null)
                await layers.DisposeAsync().ConfigureAwait(false);
        }
    }

    // Only whole blocks can be kept near, and nothing that a delete has overtaken.
    private async ValueTask RefillAsync(
        KvPrefix prefix, int firstBlock, ReadOnlyMemory<Memory<byte>> blocks, RefillGate.Epoch epoch, CancellationToken cancellationToken)
    {
        if (!_refills.TryEnter(epoch))
            return;
        try
        {
            var copies = new ReadOnlyMemory<byte>[blocks.Length];
            for (var i = 0; i < copies.Length; i++)
                copies[i] = blocks.Span[i];
            await StoreNearAsync(prefix, firstBlock, copies, new StoreOptions(NearLife), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _refills.Leave(epoch);
        }
    }
}
