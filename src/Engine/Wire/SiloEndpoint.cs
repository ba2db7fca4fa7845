using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KvCache.Engine.Wire;

/// <summary>Where a silo's data plane listens.</summary>
/// <param name="Text">The address as it was written.</param>
/// <param name="EndPoint">The address for a socket.</param>
internal sealed record SiloEndpoint(string Text, EndPoint EndPoint)
{
    /// <summary>What an address with TLS begins with.</summary>
    public const string TlsScheme = "tls:";

    /// <summary>Longest text of an address.</summary>
    public const int MaxTextBytes = 512;

    /// <summary>Whether the address is spoken to with TLS.</summary>
    public bool IsTls => Text.StartsWith(TlsScheme, StringComparison.Ordinal);

    /// <summary>The host that was written, without brackets: the name that a certificate must have. Empty for a Unix socket.</summary>
    public string Host => EndPoint switch
    {
        IPEndPoint ip => ip.Address.ToString(),
        DnsEndPoint name => name.Host,
        _ => "",
    };

    /// <summary>Parses <c>tcp:host:port</c>, <c>tls:host:port</c> or <c>unix:/path</c>; null for anything else.</summary>
    public static SiloEndpoint? TryParse(string? text)
    {
        if (text is null)
            return null;
        if (text.StartsWith("unix:/", StringComparison.Ordinal))
        {
            try
            {
                return new SiloEndpoint(text, new UnixDomainSocketEndPoint(text[5..]));
            }
            catch (ArgumentException)
            {
                return null; // longer than the platform allows, which only the platform knows
            }
        }

        var colon = text.LastIndexOf(':');
        if (!(text.StartsWith("tcp:", StringComparison.Ordinal) || text.StartsWith(TlsScheme, StringComparison.Ordinal)) || colon <= 4
            || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
            return null;
        var host = text[4..colon];
        return IPAddress.TryParse(host.Trim('[', ']'), out var address)
            ? new SiloEndpoint(text, new IPEndPoint(address, port))
            : new SiloEndpoint(text, new DnsEndPoint(host, port));
    }

    internal Socket CreateSocket() => EndPoint switch
    {
        UnixDomainSocketEndPoint => new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified),
        IPEndPoint ip => new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp),
        _ => new Socket(SocketType.Stream, ProtocolType.Tcp),
    };

    /// <summary>
    /// Waits for the look-up of a name. A name server that does not answer holds a blocking look-up for many seconds, and nothing ends
    /// that; the caller's deadline has to.
    /// </summary>
    /// <exception cref="OperationCanceledException">The token ended the wait; the look-up goes on by itself.</exception>
    internal static IPAddress[] Await(Task<IPAddress[]> lookUp, CancellationToken cancellationToken) =>
        lookUp.WaitAsync(cancellationToken).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override string ToString() => Text;
}
