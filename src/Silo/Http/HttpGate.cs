using System.Net;
using KvCache.Silo.Accounts;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>
/// Stands before every request of the API, before anything of it is read: as whom it comes, and whether there is room for it.
/// </summary>
internal sealed class HttpGate(
    TenantRegistry tenants, HttpConnections connections, AuditLog audit, ProblemWriter problems, IOptions<HttpApiOptions> options,
    SiloTls tls, TenantQuotas quotas, IServer server)
{
    /// <summary>Path of the API.</summary>
    public const string Path = "/v1";

    private static readonly object TenantItem = new();

    // The default tenant has no secret: whoever reaches the address could read and write its blocks.
    private readonly Lazy<bool> _open = new(() => ListensOnLoopbackOnly(server.Features.Get<IServerAddressesFeature>()?.Addresses ?? []));

    private readonly TenantPlaces _requests = new(options.Value.MaxRequests, reserved: 0, quotas.PlacesOf);

    /// <summary>The tenant that a request comes from.</summary>
    /// <exception cref="InvalidOperationException">It has not passed the gate.</exception>
    public static string TenantOf(HttpContext context) =>
        context.Items[TenantItem] as string ?? throw new InvalidOperationException("A request of the API did not pass the gate.");

    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        HttpConnections.Begin(context);
        try
        {
            await PassAsync(context, next);
        }
        finally
        {
            HttpConnections.End(context);
        }
    }

    private async Task PassAsync(HttpContext context, RequestDelegate next)
    {
        // Routing does not mind letter case, and so must this not.
        if (!context.Request.Path.StartsWithSegments(Path, StringComparison.OrdinalIgnoreCase))
        {
            await next(context);
            return;
        }

        var (problem, delay) = Refuse(context);
        if (problem is null && !connections.TryProve(context, TenantOf(context)))
            problem = HttpProblem.Busy(
                $"The tenant has all connections that it may have of {connections.Most}, which is what {HttpApiOptions.Section}:"
                + "MaxConnections and the process's limit of open files allow in all. Try again, or another silo.");
        if (problem is not null)
        {
            if (delay > TimeSpan.Zero)
                await Task.Delay(delay, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await problems.WriteAsync(context, problem);
            return;
        }

        var tenant = TenantOf(context);
        if (!_requests.TryTake(tenant))
        {
            await problems.WriteAsync(
                context, HttpProblem.Busy(
                $"As many requests of the tenant are being served as it may have of {options.Value.MaxRequests}, which is what "
                + $"{HttpApiOptions.Section}:MaxRequests allows in all. Try again, or another silo."));
            return;
        }

        try
        {
            using var turn = quotas.Turns.Register(tenant);
            await turn.BeginAsync();
            await next(context);
        }
        finally
        {
            _requests.Release(tenant);
        }
    }

    private (HttpProblem? Problem, TimeSpan Delay) Refuse(HttpContext context)
    {
        if (tls.Server?.TenantOf(context.Connection.ClientCertificate) is { } certified)
        {
            context.Items[TenantItem] = certified;
            return (quotas.IsClosed(certified)
                ? HttpProblem.Forbidden("The tenant that the certificate stands for is disabled or deleted.")
                : null, default);
        }

        if (!tenants.HasSecrets)
        {
            context.Items[TenantItem] = TenantRegistry.DefaultTenant;
            return (_open.Value
                ? null
                : HttpProblem.Forbidden(
                    "This silo's HTTP address can be reached from other machines, and no tenant has a secret. Set "
                    + $"{TenantOptions.Section}:NAME:Secret, or listen on 127.0.0.1."), default);
        }

        const string Scheme = "Bearer ";
        var header = context.Request.Headers.Authorization.ToString();
        if (!header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
            return (HttpProblem.Unauthenticated(
                "The request has no Authorization header of the form 'Bearer SECRET'. Send the tenant's secret."), default);
        if (tenants.FindBySecret(header.AsSpan(Scheme.Length).Trim()) is not { } tenant)
            return (HttpProblem.Unauthenticated("The token is not the secret of any tenant of this silo."),
                audit.Refused("HTTP", context.Connection.RemoteIpAddress, "", WrongProofs.Longest));
        context.Items[TenantItem] = tenant;
        return (null, default);
    }

    private static bool ListensOnLoopbackOnly(IEnumerable<string> addresses) => addresses.Select(BindingAddress.Parse).All(address =>
        address.IsUnixPipe || address.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(address.Host, out var ip) && IPAddress.IsLoopback(ip)));
}
