using System.Net;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>
/// Refuses what a web page makes its visitor's browser send: requests under a name that is not the silo's (the page's own name, made to
/// point here: DNS rebinding), and requests from a page of another origin. An address of our own in Host is no such name.
/// </summary>
internal sealed class HttpOrigins(IOptions<HttpApiOptions> options, ProblemWriter problems)
{
    private readonly HashSet<string> _names = new([.. options.Value.Hosts, "localhost"], StringComparer.OrdinalIgnoreCase);

    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var host = context.Request.Host;
        if (!IsOurs(host.Host, context.Connection.LocalIpAddress))
        {
            await problems.WriteAsync(context, HttpProblem.Misdirected(
                $"The request asks for the host '{HttpProblem.Shorten(host.Host)}', which is not a name of this silo. Ask for the address "
                    + $"that it listens on, or name the host in {HttpApiOptions.Section}:Hosts."));
            return;
        }

        var origins = context.Request.Headers.Origin;
        if (origins.Count == 0
            || (origins.Count == 1 && Uri.TryCreate(origins[0], UriKind.Absolute, out var origin)
            && new HostString(origin.Authority) == host))
            await next(context);
        else
            await problems.WriteAsync(
                context, HttpProblem.Forbidden(
                $"The request comes from a web page of '{HttpProblem.Shorten(origins.ToString())}'. Pages of other origins are not served."));
    }

    private bool IsOurs(string host, IPAddress? local)
    {
        if (!IPAddress.TryParse(host, out var address))
            return _names.Contains(host);
        address = Plain(address);
        return IPAddress.IsLoopback(address) || (local is not null && Plain(local).Equals(address)) || _names.Contains(host);
    }

    private static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}
