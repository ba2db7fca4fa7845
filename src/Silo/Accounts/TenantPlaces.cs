namespace KvCache.Silo.Accounts;

/// <summary>Places for connections or requests of an endpoint: so many in all, of each tenant its part, and some that only the silo's
/// operators get.</summary>
/// <param name="most">Places in all.</param>
/// <param name="reserved">Those of them that no tenant gets.</param>
/// <param name="partOf">How many of so many a tenant may have.</param>
internal sealed class TenantPlaces(int most, int reserved, Func<string, int, int> partOf)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _byTenant = new(StringComparer.Ordinal);
    private int _taken;

    /// <summary>Takes a place.</summary>
    /// <param name="tenant">Whose it is; empty for an operator's.</param>
    /// <returns>False when there is none for it.</returns>
    public bool TryTake(string tenant)
    {
        var isOperator = tenant.Length == 0;
        lock (_lock)
        {
            var has = _byTenant.GetValueOrDefault(tenant);
            if (_taken >= most - (isOperator ? 0 : reserved) || (!isOperator && has >= partOf(tenant, most)))
                return false;
            _byTenant[tenant] = has + 1;
            _taken++;
            return true;
        }
    }

    /// <summary>Gives a place back.</summary>
    public void Release(string tenant)
    {
        lock (_lock)
        {
            _taken--;
            if (--_byTenant[tenant] == 0)
                _byTenant.Remove(tenant);
        }
    }
}
