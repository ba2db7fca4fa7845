using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>
/// Where a Redis listens and who we are there, written <c>host:port[,user=…][,password=…][,db=N]</c> or <c>unix:/path[,…]</c>.
/// </summary>
internal sealed class RedisEndpoint
{
    private const int LongestSocketPath = 107;

    private RedisEndpoint(EndPoint address, string text)
    {
        Address = address;
        Text = text;
    }

    /// <summary>An IP address, a name with a port, or a path.</summary>
    public EndPoint Address { get; }

    /// <summary>The address alone, as it may appear in logs.</summary>
    public string Text { get; }

    public string? User { get; private set; }

    public string? Password { get; private set; }

    public int Database { get; private set; }

    /// <summary>Parses a connection string.</summary>
    /// <param name="text">The connection string.</param>
    /// <param name="endpoint">What it names.</param>
    /// <param name="problem">What is wrong with it; never repeats a password.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out RedisEndpoint? endpoint, [NotNullWhen(false)] out string? problem)
    {
        var parts = text.Split(',');
        endpoint = TryParseAddress(parts[0].Trim()) is { } address ? new RedisEndpoint(address, parts[0].Trim()) : null;
        if (endpoint is null)
        {
            problem = $"'{parts[0]}' is not an address; host:port or unix:/path was expected";
            return false;
        }

        problem = parts.Skip(1).Select(endpoint.Set).FirstOrDefault(found => found is not null);
        if (problem is null && endpoint is { User: not null, Password: null })
            problem = "user= needs password= beside it";
        if (problem is not null)
            endpoint = null;
        return endpoint is not null;
    }

    private static EndPoint? TryParseAddress(string text)
    {
        const string Unix = "unix:";
        if (text.StartsWith(Unix, StringComparison.Ordinal))
        {
            var path = text[Unix.Length..];
            return Path.IsPathFullyQualified(path) && Encoding.UTF8.GetByteCount(path) <= LongestSocketPath ? new UnixDomainSocketEndPoint(path) : null;
        }

        var colon = text.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
            return null;
        var host = text[..colon];
        if (IPAddress.TryParse(host.AsSpan().Trim("[]"), out var ip))
            return new IPEndPoint(ip, port);
        return Uri.CheckHostName(host) == UriHostNameType.Dns ? new DnsEndPoint(host, port) : null;
    }

    private string? Set(string setting)
    {
        var equals = setting.IndexOf('=');
        var name = equals < 0 ? "" : setting[..equals].Trim();
        var value = setting[(equals + 1)..];
        switch (name)
        {
            case "user":
                User = value;
                return null;
            case "password":
                Password = value;
                return null;
            case "db" when int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number):
                Database = number;
                return null;
            case "db":
                return $"db={value} is not a number";
            default:
                return "only user=, password= and db=N may follow the address; a password cannot contain a comma";
        }
    }
}
