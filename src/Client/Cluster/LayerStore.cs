using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>One store by layers, at the home silo: each layer of all blocks goes as soon as it is ready.</summary>
internal sealed class LayerStore(
    SiloDirectory silos, KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions options,
    TimeSpan timeout)
{
    private readonly object _gate = new();
    private int _ready = -1; // layer up to which all are ready
    private bool _over;
    private StoreResult _result;

    /// <summary>Stores.</summary>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public async ValueTask<StoreResult> RunAsync(IAsyncEnumerable<int> ready, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var woken = ending.Token.UnsafeRegister(static store => ((LayerStore)store!).End(), this);
        var budget = new CallBudget(timeout, timeout, ending.Token);
        ending.CancelAfter(timeout);
        var listening = ListenAsync();
        var reason = MissReason.Unavailable;
        try
        {
            // Nothing is lost when a silo fails: the layers are in the caller's memory, and another silo gets them from the first on.
            foreach (var silo in silos.Homes)
            {
                _result = default;
                reason = await budget.RunAsync(silo.Data, Store, isPatient: true).ConfigureAwait(false);
                if (reason == MissReason.None)
                    silo.Stored(_result.Stored);
                if (reason != MissReason.Unavailable)
                    break;
            }
        }
        finally
        {
            await ending.CancelAsync().ConfigureAwait(false);
        }

        var wasGivenUp = await listening.ConfigureAwait(false); // passes on what the caller's enumeration threw
        if (reason != MissReason.None)
            cancellationToken.ThrowIfCancellationRequested();
        return _result with { Reason = reason != MissReason.None && wasGivenUp ? MissReason.Absent : reason };

        async Task<bool> ListenAsync()
        {
            try
            {
                await foreach (var layer in ready.WithCancellation(ending.Token).ConfigureAwait(false))
                    Advance(layer);
            }
            catch (OperationCanceledException) when (ending.IsCancellationRequested)
            {
                return false;
            }
            catch
            {
                await ending.CancelAsync().ConfigureAwait(false);
                throw;
            }

            if (_ready >= prefix.Namespace.Layout.Layers - 1)
                return false;
            await ending.CancelAsync().ConfigureAwait(false);
            return true;
        }
    }

    private MissReason Store(BlockConnection connection)
    {
        var hashes = prefix.Chain.Hashes.Slice(firstBlock, blocks.Count);
        var (stored, _) = connection.Match([prefix.Namespace], hashes, TimeSpan.Zero);
        _result = _result with { AlreadyStored = stored };
        if (stored == blocks.Count)
            return MissReason.None;
        var depth = firstBlock + stored;
        var parent = depth == 0 ? default : prefix.Chain.Hashes[depth - 1];
        foreach (var outcome in connection.PutLayers(
            prefix.Namespace, hashes[stored..], parent, depth, blocks, stored, options, WaitFor, prefix.Hint).Outcomes)
            _result = _result.With(outcome);
        return MissReason.None;
    }

    // On the connection's thread. What it throws drops the connection, and with it the unfinished put.
    private void WaitFor(int layer)
    {
        lock (_gate)
        {
            while (_ready < layer)
            {
                if (_over)
                    throw new OperationCanceledException("The store was given up before its last layer.");
                Monitor.Wait(_gate);
            }
        }
    }

    private void Advance(int layer)
    {
        lock (_gate)
        {
            _ready = Math.Max(_ready, layer);
            Monitor.PulseAll(_gate);
        }
    }

    private void End()
    {
        lock (_gate)
        {
            _over = true;
            Monitor.PulseAll(_gate);
        }
    }
}
