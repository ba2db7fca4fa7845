using System.Collections.Concurrent;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using KvCache.Silo.Tiers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Accounts;

/// <summary>
/// Brings changes of tenants to every silo, and takes the blocks of deleted ones out of memory and Redis. Whatever is missed, because a
/// silo was away, is made up for by
/// the next round.
/// </summary>
internal sealed partial class TenantChanges(
    TenantDirectory tenants,
    BlockStore store,
    ClusterMembers members,
    ISiloAgents agents,
    IServiceProvider services,
    ILogger<TenantChanges> logger)
    : BackgroundService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _news = new(0);
    private Task _clearing = Task.CompletedTask;

    // deleted tenants of which nothing is left, by version
    private readonly ConcurrentDictionary<string, ulong> _cleared = new(StringComparer.Ordinal);

    /// <summary>Whether nothing is left of a deleted tenant: in the memory of every silo that is a member, and in Redis.</summary>
    public bool IsCleared(string tenant, TenantEntry entry) => _cleared.TryGetValue(tenant, out var version) && version == entry.Version;

    /// <summary>Bytes of a tenant in this silo's memory.</summary>
    public long BytesOf(string tenant) => store.GetStatistics(store.Accounts.Of(tenant)).UsedBytes;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        tenants.Changed += () => _news.Release();
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await RunAsync(stoppingToken);
            }
            catch (Exception e) when (!stoppingToken.IsCancellationRequested)
            {
                LogFailed(e.Message);
            }

            await _news.WaitAsync(Pause, stoppingToken);
        }
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        foreach (var peer in members.Peers)
        {
            var theirs = await agents.Of(peer.Address).ExchangeTenantsAsync(tenants.Book).AsTask().WaitAsync(Patience, cancellationToken);
            if (tenants.Take(theirs) is { } problem)
                LogRefused(peer.Address.ToString(), problem);
        }

        // Behind the news of others: looking through Redis takes as long as it has keys.
        if (_clearing.IsCompleted)
            _clearing = ClearDeletedAsync(cancellationToken);
    }

    private async Task ClearDeletedAsync(CancellationToken cancellationToken)
    {
        try
        {
            await Task.WhenAll(tenants.Tenants.Where(tenant => tenant.Value.Deleted && !IsCleared(tenant.Key, tenant.Value)).Select(
                async tenant =>
                {
                    if (!await ClearAsync(tenant.Key, cancellationToken))
                        return;
                    _cleared[tenant.Key] = tenant.Value.Version;
                    LogCleared(tenant.Key);
                }));
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            LogFailed(e.Message);
        }
    }

    // Redis last: when nobody has a block in memory any more, none is written behind.
    private async Task<bool> ClearAsync(string tenant, CancellationToken cancellationToken)
    {
        var keys = new List<BlockKey>();
        store.CollectOf(store.Accounts.Of(tenant), keys);
        foreach (var key in keys)
            store.Remove(key);
        var left = BytesOf(tenant);
        foreach (var peer in members.Peers)
            left += await agents.Of(peer.Address).BytesOfTenantAsync(tenant).AsTask().WaitAsync(Patience, cancellationToken);
        if (left > 0)
            return false;
        if (services.GetService<RedisTier>() is not { } tier)
            return true;
        var id = TenantId.Of(tenant);
        var deleted = true;
        var isWhole = await tier.VisitAsync(
            key => key.Namespace.Tenant == id,
            page => deleted &= tier.DeleteAsync([.. page], cancellationToken).GetAwaiter().GetResult(), // the scan has a thread of its own
            cancellationToken);
        return isWhole && deleted;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Changes of tenants are not everywhere yet; trying again: {Reason}")]
    private partial void LogFailed(string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Changes of tenants that silo {Silo} has do not hold here: {Reason}")]
    private partial void LogRefused(string silo, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Nothing is left of the deleted tenant '{Tenant}'")]
    private partial void LogCleared(string tenant);
}
