using System.Diagnostics.CodeAnalysis;
using System.Net;

namespace KvCache.Silo.Options;

/// <summary>Addresses to listen on, <c>ip:port</c>. .NET takes <c>127.0.0.1</c> for port 0, <c>7400</c> for the address 0.0.28.232 and
/// <c>::1:7400</c> for an address without a port; here the port has to be there.</summary>
internal static class ListenAddress
{
    /// <summary>What is expected, for messages; the example follows.</summary>
    public const string Expected = "ip:port was expected (the port too; [ip]:port for IPv6), for example";

    public static bool TryParse(string text, [NotNullWhen(true)] out IPEndPoint? address)
    {
        address = null;
        var colon = text.LastIndexOf(':');
        return colon > 0 && ushort.TryParse(text.AsSpan(colon + 1), out _)
            && (text.IndexOf(':') == colon ? text.AsSpan(0, colon).Count('.') == 3 : text[0] == '[' && text[colon - 1] == ']')
            && IPEndPoint.TryParse(text, out address);
    }
}
