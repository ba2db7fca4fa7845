using System.Net;
using System.Security.Cryptography;
using System.Text;
using KvCache.Silo.Accounts;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>What somebody may do with the silo itself, who is no tenant of it.</summary>
internal enum OperatorRole
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>See figures, quotas and tenants.</summary>
    Scraper,

    /// <summary>Change them too.</summary>
    Administrator,
}

/// <summary>Tells who runs the silo: its figures show what all tenants do, so that no tenant's secret is enough for them.</summary>
internal sealed class Operators(
    IOptions<AccountOptions> options, OperatorTokens tokens, TenantRegistry tenants, HttpConnections connections, AuditLog audit)
{
    private readonly bool _showLoopback = options.Value.ShowLoopback ?? !tenants.HasSecrets;

    /// <summary>As whom a request comes.</summary>
    public OperatorRole RoleOf(HttpContext context)
    {
        const string Scheme = "Bearer ";
        var header = context.Request.Headers.Authorization.ToString();
        if (header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            // Digests are of equal length, and which byte of them differs first says nothing about the token.
            var given = SHA256.HashData(Encoding.UTF8.GetBytes(header[Scheme.Length..].Trim()));
            if (tenants.FindBySecret(header.AsSpan(Scheme.Length).Trim()) is not null)
                return OperatorRole.None; // whatever else it is: a tenant knows it
            if (tokens.Administrator.Knows(given))
                return OperatorRole.Administrator;
            if (tokens.Scraper.Knows(given))
                return OperatorRole.Scraper;
        }

        // Whoever shows a token wants to be known by it. Over a Unix socket there is no address: it has the machine's own locks.
        return _showLoopback && header.Length == 0
            && (context.Connection.RemoteIpAddress is not { } address || IPAddress.IsLoopback(address))
            ? OperatorRole.Scraper
            : OperatorRole.None;
    }

    /// <summary>Lets in whoever may do at least so much.</summary>
    /// <returns>Why a request is refused, after the time that a wrong token costs; null when it is not.</returns>
    public async Task<HttpProblem?> RefuseAsync(HttpContext context, OperatorRole least)
    {
        var role = RoleOf(context);
        if (role >= least)
            return connections.TryProve(context, "")
                ? null
                : HttpProblem.Busy(
                    $"{connections.Most} connections are open, which is all that {HttpApiOptions.Section}:MaxConnections and the "
                    + "process's limit of open files allow.");
        if (tokens.Administrator.Count == 0 && (least == OperatorRole.Administrator || tokens.Scraper.Count == 0))
        {
            return HttpProblem.Forbidden(least == OperatorRole.Administrator
                ? $"Nobody administers this silo over HTTP. Set {AccountOptions.Section}:AdminToken."
                : $"Nobody is shown this silo's figures. Set {AccountOptions.Section}:ScrapeToken, or "
                    + $"{AccountOptions.Section}:ShowLoopback and ask over the loopback interface.");
        }

        if (context.Request.Headers.Authorization.Count == 0)
            return HttpProblem.Unauthenticated(
                "The request has no Authorization header of the form 'Bearer TOKEN'. A tenant's secret is none: the silo's figures are "
                + "those of all tenants.");
        await Task.Delay(
            audit.Refused("administration", context.Connection.RemoteIpAddress, "", WrongProofs.Longest), context.RequestAborted)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return HttpProblem.Unauthenticated(
            least == OperatorRole.Administrator
            ? "The token is not the administrator's."
            : "The token is neither the administrator's nor the scraper's.");
    }
}
