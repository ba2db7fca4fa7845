using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace KvCache.Engine.Security;

/// <summary>How this process connects with TLS: whom it trusts, and what it shows.</summary>
/// <param name="authorities">Whom it trusts; null for the authorities of the machine.</param>
/// <param name="serverName">Name that the server's certificate must have; empty for the host that is connected to.</param>
/// <param name="certificate">The own certificate; null for none.</param>
/// <param name="protocols">TLS 1.2, 1.3 or both.</param>
internal sealed class TlsClient(
    LiveFile<X509Certificate2Collection>? authorities,
    string serverName = "",
    LiveFile<SslStreamCertificateContext>? certificate = null,
    SslProtocols protocols = SslProtocols.Tls12 | SslProtocols.Tls13)
{
    private const string ServerUsage = "1.3.6.1.5.5.7.3.1";

    /// <summary>Trusts the authorities of the machine and shows nothing.</summary>
    public static TlsClient Default { get; } = new(null);

    /// <summary>Agrees on keys with a server.</summary>
    /// <param name="stream">The connection.</param>
    /// <param name="host">The host that is connected to.</param>
    /// <exception cref="AuthenticationException">The server's certificate is not one that is trusted; the message says why.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    public void Authenticate(SslStream stream, string host)
    {
        var options = OptionsFor(host, out var refusal);
        try
        {
            stream.AuthenticateAsClient(options);
        }
        catch (AuthenticationException e)
        {
            throw new AuthenticationException(refusal() ?? $"TLS with {host} failed: {e.Message}", e);
        }
    }

    /// <summary>Options of one handshake.</summary>
    /// <param name="host">The host that is connected to.</param>
    /// <param name="refusal">Tells after the handshake why the server's certificate was refused; null when it was not.</param>
    public SslClientAuthenticationOptions OptionsFor(string host, out Func<string?> refusal)
    {
        var name = serverName.Length > 0 ? serverName : host;
        string? problem = null;
        refusal = () => problem;
        return new SslClientAuthenticationOptions
        {
            TargetHost = name,
            EnabledSslProtocols = protocols,
            ClientCertificateContext = certificate?.Fresh(),
            CertificateChainPolicy = Certificates.Policy(authorities?.Fresh(), ServerUsage),
            AllowRenegotiation = false,
            RemoteCertificateValidationCallback = (_, shown, chain, errors) =>
            {
                if (errors != SslPolicyErrors.None)
                    problem = $"{host} is not trusted: {Certificates.Describe(errors, shown, chain, name)}.";
                return errors == SslPolicyErrors.None;
            },
        };
    }
}
