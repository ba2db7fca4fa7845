using System.Buffers.Text;
using System.Collections.Concurrent;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>
/// Namespaces that the tenants have told this silo, by id. An id alone says neither whose it is nor how large a block is, so that a silo
/// takes ids only of namespaces
/// whose encoding it has seen, and whose id it has computed itself.
/// </summary>
internal sealed class NamespaceTable(IOptions<HttpApiOptions> options)
{
    private readonly ConcurrentDictionary<(string Tenant, NamespaceId Id), CacheNamespace> _known = new();
    private readonly ConcurrentDictionary<string, int> _counts = new(StringComparer.Ordinal);

    /// <summary>Remembers a namespace of its tenant.</summary>
    /// <exception cref="HttpProblemException">The tenant has too many.</exception>
    public void Register(CacheNamespace ns)
    {
        var key = (ns.Tenant, ns.Id);
        if (_known.ContainsKey(key))
            return;
        if (_counts.AddOrUpdate(ns.Tenant, 1, static (_, count) => count + 1) > options.Value.MaxNamespaces)
        {
            _counts.AddOrUpdate(ns.Tenant, 0, static (_, count) => count - 1);
            throw new HttpProblemException(
                HttpProblem.LimitReached(
                $"This tenant has {options.Value.MaxNamespaces} namespaces here, which is all that {HttpApiOptions.Section}:MaxNamespaces "
                + "allows. Use the encoding in the place of the id: it needs no registration."));
        }

        if (!_known.TryAdd(key, ns))
            _counts.AddOrUpdate(ns.Tenant, 0, static (_, count) => count - 1);
    }

    /// <summary>A tenant's namespace, by its id in hexadecimal or by its encoding in base64url.</summary>
    /// <exception cref="HttpProblemException">It is not known, not a namespace, or another tenant's.</exception>
    public CacheNamespace Resolve(string tenant, string text)
    {
        if (NamespaceId.TryParse(text, out var id))
            return _known.TryGetValue((tenant, id), out var known)
                ? known
                : throw new HttpProblemException(HttpProblem.NamespaceUnknown(text));
        var ns = Decode(text);
        return ns.Tenant == tenant ? ns : throw new HttpProblemException(HttpProblem.NamespaceUnknown(text));
    }

    /// <summary>Reads a namespace's encoding.</summary>
    /// <exception cref="HttpProblemException">It is not one.</exception>
    public static CacheNamespace Decode(string text)
    {
        if (!Base64Url.IsValid(text))
            throw new HttpProblemException(
                HttpProblem.Invalid(
                $"'{HttpProblem.Shorten(text)}' is no namespace; 32 hexadecimal digits (the id of a registered one) or its canonical "
                + "encoding in base64url were expected."));
        try
        {
            return CacheNamespace.Decode(Base64Url.DecodeFromChars(text));
        }
        catch (KvFormatException e)
        {
            throw new HttpProblemException(HttpProblem.Invalid(e.Message));
        }
    }
}
