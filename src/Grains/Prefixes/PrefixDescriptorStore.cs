using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.Storage;

namespace KvCache.Grains;

/// <summary>
/// Descriptors of prefixes in the grain storage named <see cref="PrefixDescriptor.StorageName"/>, written only for blocks that
/// have something to be remembered.
/// </summary>
/// <remarks>
/// A grain's <c>IPersistentState</c> would be read at every activation, and almost every activation is of a new block that has no
/// state: the read would cost more than the rest of the activation.
/// </remarks>
internal sealed class PrefixDescriptorStore([FromKeyedServices(PrefixDescriptor.StorageName)] IGrainStorage storage)
{
    private const string StateName = "prefix";

    // What this silo wrote, with the version that a later write or clear must name.
    private readonly ConcurrentDictionary<GrainId, GrainState<PrefixDescriptor>> _written = new();

    public async Task WriteAsync(GrainId grain, PrefixDescriptor descriptor)
    {
        if (!_written.TryGetValue(grain, out var state))
        {
            state = new GrainState<PrefixDescriptor>();
            await storage.ReadStateAsync(StateName, grain, state);
        }

        state.State = descriptor;
        await storage.WriteStateAsync(StateName, grain, state);
        _written[grain] = state;
    }

    public async Task ClearAsync(GrainId grain)
    {
        if (_written.TryRemove(grain, out var state))
            await storage.ClearStateAsync(StateName, grain, state);
    }
}
