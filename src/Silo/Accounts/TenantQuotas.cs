using System.Collections.Concurrent;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Accounts;

/// <summary>
/// What each tenant may have of this silo: limits of its account in the store, places for connections, segments of shared memory.
/// Everything follows from its
/// part: its guaranteed share, or an equal part of what is guaranteed to nobody, whichever is more. The parts add up to the whole silo at
/// most, so that what follows from them is bounded for the silo too, however many connections and tenants there are.
/// </summary>
internal sealed class TenantQuotas : IDisposable
{
    // A tenant whose part is tiny still gets a few connections.
    private const int FewConnections = 8;

    private readonly TenantAccounts _accounts;
    private readonly BlockStoreOptions _store;
    private readonly DataPlaneOptions _dataPlane;
    private readonly long _arenaBytes;
    private readonly ConcurrentDictionary<TenantId, long> _lent = new();
    private volatile Plan _plan = new([], 1, [], []);

    public TenantQuotas(
        TenantAccounts accounts, IOptions<TenantOptions> tenants, IOptions<BlockStoreOptions> store, IOptions<DataPlaneOptions> dataPlane,
        IOptions<ArenaOptions> arena)
    {
        _accounts = accounts;
        _store = store.Value;
        _dataPlane = dataPlane.Value;
        _arenaBytes = arena.Value.Size.Bytes;
        Apply(tenants.Value.Tenants, []);
        Turns = new FairShare(PartOf);
    }

    /// <summary>Turns of requests, while the silo is busy.</summary>
    public FairShare Turns { get; }

    /// <summary>Makes these the tenants. What a tenant has above its new limits goes as others need it.</summary>
    /// <param name="tenants">The tenants, those that are not let in included.</param>
    /// <param name="closed">Those that are not let in, and those that were deleted: nothing new of them is stored.</param>
    public void Apply(IReadOnlyDictionary<string, TenantOptions.Tenant> tenants, IReadOnlyCollection<string> closed)
    {
        if (tenants.Count == 0)
            tenants = new Dictionary<string, TenantOptions.Tenant> { [TenantRegistry.DefaultTenant] = new() };
        var free = Math.Max(0, (1 - tenants.Values.Sum(tenant => tenant.Share)) / tenants.Count);
        _plan = new Plan(
            new Dictionary<string, TenantOptions.Tenant>(tenants, StringComparer.Ordinal), free,
            new HashSet<string>(closed, StringComparer.Ordinal), [.. closed.Select(name => TenantId.Of(name))]);
        foreach (var (name, tenant) in tenants)
            _accounts.Set(name, LimitsOf(tenant, free));
        foreach (var name in closed)
            _accounts.Set(
                name, _accounts.Of(name).Limits with { Cap = 0, Share = tenants.ContainsKey(name) ? Bytes(tenants[name].Share) : 0 });
        _accounts.Others.Limits = LimitsOf(new TenantOptions.Tenant(), free) with { Part = 0 }; // of any number of tenants
    }

    /// <summary>Whether a tenant is not let in, and its connections have to end.</summary>
    public bool IsClosed(string tenant) => _plan.Closed.Contains(tenant);

    /// <summary>The same of a tenant of which only the id is known.</summary>
    public bool IsClosed(TenantId tenant) => _plan.ClosedIds.Contains(tenant);

    /// <summary>Connections that a tenant may have at a time at a listener of so many.</summary>
    public int ConnectionsOf(string tenant, int ofListener)
    {
        var plan = _plan;
        if (plan.Closed.Contains(tenant))
            return 0;
        return plan.Tenants.TryGetValue(tenant, out var settings) && settings.MaxConnections > 0
            ? settings.MaxConnections
            : PlacesOf(tenant, ofListener);
    }

    /// <summary>A tenant's part of so many places: a few at least.</summary>
    public int PlacesOf(string tenant, int ofAll)
    {
        var plan = _plan;
        return plan.Tenants.TryGetValue(tenant, out var settings)
            ? Math.Max(Math.Min(FewConnections, ofAll), (int)(ofAll * PartOf(settings, plan.FreePart)))
            : ofAll;
    }

    /// <summary>Charges a segment of shared memory, which is not part of the arena.</summary>
    public bool TryLend(TenantAccount account, long bytes)
    {
        if (_lent.AddOrUpdate(account.Id, bytes, (_, lent) => lent + bytes) <= _dataPlane.MaxSegmentsBytes.Bytes * PartOf(account.Name))
            return true;
        EndLend(account, bytes);
        return false;
    }

    /// <summary>Ends what <see cref="TryLend"/> has charged.</summary>
    public void EndLend(TenantAccount account, long bytes) => _lent.AddOrUpdate(account.Id, 0, (_, lent) => lent - bytes);

    public void Dispose() => Turns.Dispose();

    private double PartOf(string tenant)
    {
        if (tenant == WireProtocol.PeerTenant)
            return 1; // other silos work for all tenants, and wait for none
        var plan = _plan;
        return plan.Tenants.TryGetValue(tenant, out var settings) ? PartOf(settings, plan.FreePart) : plan.FreePart;
    }

    private TenantLimits LimitsOf(TenantOptions.Tenant tenant, double free)
    {
        var part = PartOf(tenant, free);
        return new TenantLimits
        {
            Part = part,
            Share = Bytes(tenant.Share),
            Cap = tenant.MaxShare >= 1 ? long.MaxValue : Bytes(tenant.MaxShare),
            Locked = Bytes(part),
            Writing = Bytes(part * _store.MaxWritingShare),
            Held = Bytes(part * _store.MaxHeldShare),
            Pinned = Bytes(tenant.PinShare ?? (part * _store.MaxPinnedShare)),
        };
    }

    private long Bytes(double share) => (long)(share * _arenaBytes);

    private static double PartOf(TenantOptions.Tenant tenant, double free) => Math.Max(tenant.Share, free);

    private sealed record Plan(
        Dictionary<string, TenantOptions.Tenant> Tenants, double FreePart, HashSet<string> Closed, HashSet<TenantId> ClosedIds);
}
