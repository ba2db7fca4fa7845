using System.Collections.Concurrent;

namespace KvCache.Engine.Storage;

/// <summary>The accounts of a store. Readers take no lock; a key of a tenant without one is charged to an account that all such keys
/// share.</summary>
internal sealed class TenantAccounts
{
    private readonly ConcurrentDictionary<TenantId, TenantAccount> _byTenant = new();
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private TenantAccount[] _all;

    /// <summary>Creates the accounts, at first without a tenant.</summary>
    /// <param name="others">What keys of nobody's tenant may take; null for no limits.</param>
    /// <param name="time">Clock of the meters; null for the system's.</param>
    public TenantAccounts(TenantLimits? others = null, TimeProvider? time = null)
    {
        _time = time ?? TimeProvider.System;
        Others = new TenantAccount(default, "", others ?? TenantLimits.None, Evictable, _time);
        _all = [Others];
    }

    /// <summary>The account of keys whose tenant has none.</summary>
    public TenantAccount Others { get; }

    /// <summary>All accounts, the common one first.</summary>
    public IReadOnlyList<TenantAccount> All => Volatile.Read(ref _all);

    /// <summary>What can be evicted of all accounts; guarded by the store's lock.</summary>
    internal EvictableBytes Evictable { get; } = new();

    /// <summary>The account that a namespace is charged to.</summary>
    public TenantAccount Of(NamespaceId ns) => Of(ns.Tenant);

    /// <summary>The account of a tenant of which only the id is known.</summary>
    public TenantAccount Of(TenantId tenant) => _byTenant.TryGetValue(tenant, out var account) ? account : Others;

    /// <summary>The account of a tenant.</summary>
    public TenantAccount Of(string tenant) => _byTenant.GetValueOrDefault(TenantId.Of(tenant), Others);

    /// <summary>The account of a tenant, with these limits from now on. What its keys were charged before stays with the common account
    /// until it goes.</summary>
    public TenantAccount Set(string tenant, TenantLimits limits)
    {
        var id = TenantId.Of(tenant);
        lock (_lock)
        {
            if (_byTenant.TryGetValue(id, out var account))
            {
                account.Limits = limits;
                return account;
            }

            account = new TenantAccount(id, tenant, limits, Evictable, _time);
            _all = [.. _all, account];
            _byTenant[id] = account;
            return account;
        }
    }
}

/// <summary>Bytes that could be evicted; guarded by the store's lock.</summary>
internal sealed class EvictableBytes
{
    public long Bytes { get; set; }
}
