using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;
using Orleans.Storage;

namespace KvCache.Grains.Prefixes;

/// <summary>
/// Descriptors of prefixes in the grain storage named <see cref="PrefixDescriptor.StorageName"/>, written only for blocks that
/// are pinned and outlive silos.
/// </summary>
/// <remarks>
/// <para>A grain's <c>IPersistentState</c> would be read at every activation, and almost every activation is of a new block that has no
/// state: the read would cost more than the rest of the activation. It would also end activations when the storage fails.</para>
/// <para>Nothing here throws or takes longer than <see cref="PrefixGrainOptions.StorageTimeout"/>: a descriptor that the storage does
/// not take is lost and counted.</para>
/// </remarks>
internal sealed partial class PrefixDescriptorStore(
    [FromKeyedServices(PrefixDescriptor.StorageName)] IGrainStorage storage,
    IOptions<PrefixGrainOptions> options,
    PrefixDescriptorCounters counters,
    ILogger<PrefixDescriptorStore> logger)
{
    private const string StateName = "prefix";

    /// <summary>What was kept of a prefix; null when that is nothing, or the storage does not answer.</summary>
    public async Task<PrefixDescriptor?> ReadAsync(GrainId grain)
    {
        PrefixDescriptor? found = null;
        await TryAsync(grain, async (state, _) =>
        {
            await storage.ReadStateAsync(StateName, grain, state).ConfigureAwait(false);
            found = state is { RecordExists: true, State.IsWorthKeeping: true } ? state.State : null;
        });
        return found;
    }

    /// <summary>Changes what is kept of a prefix.</summary>
    /// <param name="grain">The grain.</param>
    /// <param name="change">Changes the descriptor that is kept, or an empty one. May be called twice, and on any thread.</param>
    /// <returns>False when it was lost.</returns>
    public Task<bool> UpdateAsync(GrainId grain, Action<PrefixDescriptor> change) => TryAsync(grain, async (state, limit) =>
    {
        await storage.ReadStateAsync(StateName, grain, state).ConfigureAwait(false);
        limit.ThrowIfCancellationRequested(); // a later change may be under way
        var descriptor = state is { RecordExists: true, State: { } kept } ? kept : new PrefixDescriptor();
        change(descriptor);
        if (descriptor.IsWorthKeeping)
        {
            state.State = descriptor;
            await storage.WriteStateAsync(StateName, grain, state).ConfigureAwait(false);
            counters.Wrote();
        }
        else if (state.RecordExists)
        {
            await storage.ClearStateAsync(StateName, grain, state).ConfigureAwait(false);
        }
    });

    /// <summary>Forgets a prefix.</summary>
    public Task ClearAsync(GrainId grain) => TryAsync(grain, async (state, _) =>
    {
        await storage.ReadStateAsync(StateName, grain, state).ConfigureAwait(false);
        if (state.RecordExists)
            await storage.ClearStateAsync(StateName, grain, state).ConfigureAwait(false);
    });

    private async Task<bool> TryAsync(GrainId grain, Func<GrainState<PrefixDescriptor>, CancellationToken, Task> action)
    {
        using var limit = new CancellationTokenSource(options.Value.StorageTimeout);
        try
        {
            await TwiceAsync(action, limit.Token).WaitAsync(limit.Token);
            return true;
        }
        catch (Exception e)
        {
            counters.Lose();
            LogLost(grain.Key.ToString() ?? "", e.Message);
            return false;
        }
    }

    // Between reading and writing somebody else may have written, or the entry's life may have ended. Then what was read is read once more.
    private static async Task TwiceAsync(Func<GrainState<PrefixDescriptor>, CancellationToken, Task> action, CancellationToken limit)
    {
        try
        {
            await action(new GrainState<PrefixDescriptor>(), limit).ConfigureAwait(false);
        }
        catch (InconsistentStateException) when (!limit.IsCancellationRequested)
        {
            await action(new GrainState<PrefixDescriptor>(), limit).ConfigureAwait(false);
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The descriptor of block {Block} was lost: {Reason}")]
    private partial void LogLost(string block, string reason);
}
