using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains;
using KvCache.Silo.Accounts;
using KvCache.Silo.Data;
using Microsoft.Extensions.Logging;
using Orleans.Concurrency;
using Orleans.Runtime;
using Orleans.Runtime.Services;

namespace KvCache.Silo.Cluster;

/// <summary>Answers other silos' questions about this one's blocks.</summary>
[Reentrant]
internal sealed class SiloAgent(
    GrainId id, global::Orleans.Runtime.Silo silo, ILoggerFactory loggers, BlockStore store, BlockDirectory directory, BlockServer server,
    BlockFetcher fetcher, TenantDirectory tenants, ClusterMembers members)
    : GrainService(id, silo, loggers), ISiloAgent
{
    public ValueTask<SiloCard> DescribeAsync() =>
        new(new SiloCard(server.EndpointsForOthers, WireProtocol.OldestVersion, WireProtocol.Version));

    public ValueTask<bool> ContainsAsync(BlockKey key) => new(fetcher.IsHere(key));

    public ValueTask<WriteState> StateOfWriteAsync(BlockKey key, ulong generation) => new(StateOf(store, key, generation));

    /// <summary>What has become of a write in a store.</summary>
    public static WriteState StateOf(BlockStore store, BlockKey key, ulong generation) =>
        store.IsWriting(key, generation) ? WriteState.Running : store.Contains(key) ? WriteState.Stored : WriteState.Gone;

    public ValueTask RevokeAsync(BlockKey key, ulong generation)
    {
        store.Revoke(key, generation);
        return default;
    }

    public ValueTask<DeletionReport> DeleteAsync(BlockKey[] keys, ulong stamp)
    {
        var mine = store.StampFrom(stamp);
        return new(ReportOf(directory, keys, mine));
    }

    public ValueTask<bool> BuryAsync(BlockKey[] keys, ulong stamp)
    {
        foreach (var key in keys)
            directory.Bury(key, stamp);
        return new(directory.IsWritten());
    }

    /// <summary>Deletes blocks on this silo.</summary>
    /// <returns>What is told of it.</returns>
    public static DeletionReport ReportOf(BlockDirectory directory, BlockKey[] keys, ulong stamp) =>
        ReportOf(Array.ConvertAll(keys, key => directory.Delete(key, stamp)), stamp, !directory.IsWritten());

    /// <summary>What is told of deletions.</summary>
    public static DeletionReport ReportOf(Deletion[] deletions, ulong stamp, bool isUnwritten = false) => new(
        Array.ConvertAll(deletions, deletion => deletion.Removed),
        Array.ConvertAll(deletions, deletion => deletion.Known), stamp, isUnwritten);

    public ValueTask<bool> PinAsync(BlockKey key, TimeSpan duration) => new(store.Pin(key, duration));

    public async ValueTask<bool?[]> SetTimeToLiveAsync(BlockKey[] keys, TimeSpan timeToLive, ulong stamp) =>
        await fetcher.SetTimeToLiveAsync(keys, timeToLive, stamp);

    public ValueTask<bool> HintAsync(BlockKey last, SiloHint hint) =>
        new(store.Tell(last.Namespace, [last.Hash], hint.ToHint(), hint.Ends));

    public ValueTask<byte[]> ExchangeTenantsAsync(byte[] book)
    {
        tenants.Take(book); // what does not hold here is told by who asks
        return new(tenants.Book);
    }

    public ValueTask<long> BytesOfTenantAsync(string tenant) => new(store.GetStatistics(store.Accounts.Of(tenant)).UsedBytes);

    public ValueTask<long> LeavingAsync(SiloAddress silo)
    {
        if (members.Find(silo) is { } peer)
            peer.IsLeaving = true;
        return new(store.Arena.CommittedBytes - store.Arena.UsedBytes);
    }

    public async ValueTask<int> CopyAsync(BlockKey[] keys, SiloAddress from) => await fetcher.CopyAsync(keys, from);
}

/// <summary>Reaches the agent of a silo.</summary>
internal interface ISiloAgents
{
    ISiloAgent Of(SiloAddress silo);
}

/// <inheritdoc/>
internal sealed class SiloAgents(IServiceProvider services) : GrainServiceClient<ISiloAgent>(services), ISiloAgents
{
    public ISiloAgent Of(SiloAddress silo) => GetGrainService(silo);
}
