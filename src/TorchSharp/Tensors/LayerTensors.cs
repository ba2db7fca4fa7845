using System.Diagnostics;
using KvCache.TorchSharp.Tensors;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>
/// Blocks that are being loaded layer by layer into tensors of their own, or into the buffers of a <see cref="StagingRing"/>. The load runs
/// by itself from the start; an engine waits for a layer just before it needs it.
/// </summary>
/// <remarks>Made by <see cref="KvCacheTensorExtensions.LoadLayerTensors"/> and <see cref="StagedTensors.LoadLayerTensorsAsync"/>. Disposing
/// it ends the load, waits until nothing is written any more, and disposes the tensors.</remarks>
public sealed class LayerTensors : IAsyncDisposable
{
    private const int TokenDimension = 1; // of [parts, tokens, heads, dim]

    private readonly CancellationTokenSource _ending;
    private readonly torch.Tensor[] _blocks;
    private readonly LayerRange _range;
    private readonly TaskCompletionSource<LoadedLayer>[] _layers;
    private readonly long _began = Stopwatch.GetTimestamp();
    private readonly Task _loading;
    private readonly StagingRing? _staging;
    private long _arrived; // ticks from the start to the last layer that came
    private int _disposed;

    internal LayerTensors(
        IKvCache cache, KvPrefix prefix, int firstBlock, torch.Tensor[] blocks, LayerRange range, StagingRing? staging,
        CacheMatch? match, CancellationToken cancellationToken)
    {
        _blocks = blocks;
        _staging = staging;
        _range = range;
        _layers = new TaskCompletionSource<LoadedLayer>[range.Count];
        for (var i = 0; i < _layers.Length; i++)
            _layers[i] = new TaskCompletionSource<LoadedLayer>(TaskCreationOptions.RunContinuationsAsynchronously);
        _ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var layers = cache.LoadLayersAsync(
            prefix, firstBlock, Array.ConvertAll(blocks, block => new TensorMemory(block).Memory), range, match, _ending.Token);
        _loading = Task.Run(() => LoadAsync(layers), CancellationToken.None); // a cache of this process copies on the thread that asks
    }

    /// <summary>The blocks, shape <c>[layers, parts, tokens, heads, dim]</c>. A layer of theirs has its content when <see
    /// cref="WaitAsync"/> says so.</summary>
    public IReadOnlyList<torch.Tensor> Blocks => _blocks;

    /// <summary>Time from the start to the last layer that has come so far.</summary>
    public TimeSpan LoadTime => new(Volatile.Read(ref _arrived));

    /// <summary>Waits for a layer.</summary>
    /// <param name="layer">Index of the layer in a block.</param>
    /// <returns>In how many blocks it is complete, as <see cref="IKvCache.LoadLayersAsync"/> says it; 0 also for the layers behind the one
    /// that ended the load.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The layer is not one of those being loaded.</exception>
    /// <exception cref="OperationCanceledException">The caller has cancelled the load, or disposed it.</exception>
    public ValueTask<LoadedLayer> WaitAsync(int layer) => layer >= _range.First && layer < _range.End
        ? new ValueTask<LoadedLayer>(_layers[layer - _range.First].Task)
        : throw new ArgumentOutOfRangeException(nameof(layer), layer, $"Expected a layer of {_range}.");

    /// <summary>Waits for a layer and copies it.</summary>
    /// <param name="layer">Index of the layer in a block.</param>
    /// <param name="destination">Shape <c>[parts, tokens, heads, dim]</c>, with the tokens of so many blocks as are wanted, from the first
    /// on; on any device.</param>
    /// <returns>False when it did not come for all of these blocks; then the destination has no content.</returns>
    /// <inheritdoc cref="WaitAsync"/>
    public async ValueTask<bool> CopyToAsync(int layer, torch.Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        var loaded = await WaitAsync(layer).ConfigureAwait(false);
        return CopyTo(loaded, destination);
    }

    /// <summary>Ends the load and disposes the tensors.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _ending.CancelAsync().ConfigureAwait(false);
        await _loading.ConfigureAwait(false);
        _ending.Dispose();
        _staging?.AwaitCopies();
        foreach (var block in _blocks)
            block.Dispose();
        _staging?.Leave();
    }

    private bool CopyTo(LoadedLayer loaded, torch.Tensor destination)
    {
        using var noGradient = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var tokens = _blocks[0].shape[1 + TokenDimension];
        var blocks = destination.shape[TokenDimension] / tokens;
        if (loaded.Blocks < blocks)
            return false;
        for (var block = 0; block < blocks; block++)
            destination.narrow(TokenDimension, block * tokens, tokens)
                .copy_(_blocks[block].select(0, loaded.Layer - _range.First), nonBlocking: _staging is { IsPinned: true });
        return true;
    }

    // Never throws: what goes wrong is told to those who wait.
    private async Task LoadAsync(IAsyncEnumerable<LoadedLayer> layers)
    {
        var last = new LoadedLayer(_range.First, 0, MissReason.Unavailable);
        try
        {
            await foreach (var loaded in layers.ConfigureAwait(false))
            {
                last = loaded;
                Volatile.Write(ref _arrived, Stopwatch.GetElapsedTime(_began).Ticks);
                _layers[loaded.Layer - _range.First].TrySetResult(loaded);
            }

            foreach (var waiting in _layers)
                waiting.TrySetResult(last with { Blocks = 0 });
        }
        catch (OperationCanceledException)
        {
            foreach (var waiting in _layers)
                waiting.TrySetCanceled(CancellationToken.None);
        }
        catch (Exception e)
        {
            foreach (var waiting in _layers)
            {
                if (waiting.TrySetException(e))
                    _ = waiting.Task.Exception; // nobody has to wait for it
            }
        }
    }
}
