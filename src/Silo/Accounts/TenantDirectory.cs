using KvCache.Silo.Data;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Accounts;

/// <summary>
/// The tenants of this silo: those of the configuration, and what administrators have changed of them since. A change is checked, kept in
/// the file, and holds at once: for
/// secrets, limits and open connections.
/// </summary>
internal sealed class TenantDirectory
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, TenantOptions.Tenant> _configured;
    private readonly TenantRegistry _registry;
    private readonly TenantQuotas _quotas;
    private readonly string _file;
    private readonly TimeProvider _time;
    private Dictionary<string, TenantEntry> _book;

    public TenantDirectory(
        IOptions<TenantOptions> configured, IOptions<AccountOptions> options, TenantRegistry registry, TenantQuotas quotas,
        TimeProvider time)
    {
        _configured = configured.Value.Tenants;
        _registry = registry;
        _quotas = quotas;
        _time = time;
        _file = options.Value.File;
        _book = TenantBook.Load(_file);
        if (_book.Count == 0)
            return;
        if (Explain(_book) is { } problem)
            throw new IOException(
                $"{AccountOptions.Section}:File is '{_file}', and with {TenantOptions.Section} it does not hold: {problem}");
        Apply();
    }

    /// <summary>Called, without a lock, when something has changed.</summary>
    public event Action? Changed;

    /// <summary>All tenants, deleted ones included.</summary>
    public IReadOnlyDictionary<string, TenantEntry> Tenants => Merged(Volatile.Read(ref _book));

    /// <summary>The changes, for other silos.</summary>
    public byte[] Book => TenantBook.Write(Volatile.Read(ref _book));

    /// <summary>Makes or changes a tenant.</summary>
    /// <param name="name">The tenant.</param>
    /// <param name="change">Gives the new entry of the old one, which is null for a new tenant; the version is given here.</param>
    /// <returns>What is wrong, in a sentence, and nothing has changed; or null.</returns>
    public string? Change(string name, Func<TenantEntry?, TenantEntry> change)
    {
        lock (_lock)
        {
            var old = Merged(_book).GetValueOrDefault(name);
            var version = Math.Max((old?.Version ?? 0) + 1, (ulong)_time.GetUtcNow().UtcTicks);
            if (Set(new Dictionary<string, TenantEntry>(_book) { [name] = change(old) with { Version = version } }) is { } problem)
                return problem;
        }

        Changed?.Invoke();
        return null;
    }

    /// <summary>Takes over what another silo knows better.</summary>
    /// <returns>What is wrong with it here, in a sentence, and nothing has changed; or null.</returns>
    public string? Take(byte[] theirs)
    {
        lock (_lock)
        {
            var book = new Dictionary<string, TenantEntry>(_book);
            var news = false;
            foreach (var (name, entry) in TenantBook.Read(theirs))
            {
                if (book.GetValueOrDefault(name)?.Version >= entry.Version)
                    continue;
                book[name] = entry;
                news = true;
            }

            if (!news)
                return null;
            if (Set(book) is { } problem)
                return problem;
        }

        Changed?.Invoke();
        return null;
    }

    private string? Set(Dictionary<string, TenantEntry> book)
    {
        if (Explain(book) is { } problem)
            return problem;
        try
        {
            if (_file.Length > 0)
                TenantBook.Save(_file, book);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"{AccountOptions.Section}:File, '{_file}', cannot be written, so that the change would not survive a "
                + $"restart: {e.Message}";
        }

        Volatile.Write(ref _book, book);
        Apply();
        return null;
    }

    private string? Explain(Dictionary<string, TenantEntry> book)
    {
        if (_configured.Count == 0)
            return $"This silo has no tenants: whoever reaches it is the tenant '{TenantRegistry.DefaultTenant}'. Configure one, "
                + $"{TenantOptions.Section}:NAME:Secret, on every silo.";
        var tenants =
            Merged(book).Where(tenant => !tenant.Value.Deleted).ToDictionary(tenant => tenant.Key, tenant => tenant.Value.ToOptions());
        return TenantOptions.Explain(tenants) ?? _registry.ExplainOtherUse(tenants);
    }

    private Dictionary<string, TenantEntry> Merged(Dictionary<string, TenantEntry> book)
    {
        var all = _configured.ToDictionary(tenant => tenant.Key, tenant => TenantEntry.Of(tenant.Value), StringComparer.Ordinal);
        foreach (var (name, entry) in book)
            all[name] = entry;
        return all;
    }

    private void Apply()
    {
        var all = Merged(_book);
        _registry.Apply(
            all.Where(tenant => tenant.Value.IsOpen).Select(tenant => KeyValuePair.Create(tenant.Key, tenant.Value.ToOptions())));
        _quotas.Apply(
            all.Where(tenant => !tenant.Value.Deleted).ToDictionary(tenant => tenant.Key, tenant => tenant.Value.ToOptions()),
            [.. all.Where(tenant => !tenant.Value.IsOpen).Select(tenant => tenant.Key)]);
    }
}
