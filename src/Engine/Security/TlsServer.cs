using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace KvCache.Engine.Security;

/// <summary>How the ports of this process speak TLS: what they show, and which clients may come.</summary>
/// <param name="certificate">The own certificate.</param>
/// <param name="clientAuthorities">Whose certificates clients may show; null when nobody is asked for one.</param>
/// <param name="requiresCertificate">Whether a client without a certificate is refused.</param>
/// <param name="tenants">Tenant by the name in a client's certificate.</param>
/// <param name="protocols">TLS 1.2, 1.3 or both.</param>
internal sealed class TlsServer(
    LiveFile<SslStreamCertificateContext> certificate,
    LiveFile<X509Certificate2Collection>? clientAuthorities,
    bool requiresCertificate,
    IReadOnlyDictionary<string, string> tenants,
    SslProtocols protocols)
{
    private const string ClientUsage = "1.3.6.1.5.5.7.3.2";
    private const string CommonName = "2.5.4.3";

    /// <summary>Agrees on keys with a client.</summary>
    /// <exception cref="AuthenticationException">The client's certificate is refused; the message says why.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    public void Authenticate(SslStream stream)
    {
        var options = CreateOptions(out var refusal);
        try
        {
            stream.AuthenticateAsServer(options);
        }
        catch (AuthenticationException e) when (refusal() is { } problem)
        {
            throw new AuthenticationException(problem, e);
        }
    }

    /// <summary>Options of one handshake.</summary>
    public SslServerAuthenticationOptions CreateOptions() => CreateOptions(out _);

    /// <summary>The tenant that a checked certificate stands for; null when it is none of those that are named.</summary>
    public string? TenantOf(X509Certificate2? client)
    {
        if (client is null || tenants.Count == 0)
            return null;
        foreach (var name in NamesOf(client))
        {
            if (tenants.TryGetValue(name, out var tenant))
                return tenant;
        }

        return null;
    }

    private SslServerAuthenticationOptions CreateOptions(out Func<string?> refusal)
    {
        string? problem = null;
        refusal = () => problem;
        var options = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = certificate.Value,
            EnabledSslProtocols = protocols,
            AllowRenegotiation = false,
        };
        if (clientAuthorities is null)
            return options;
        options.ClientCertificateRequired = true; // asked for; whether one must come is decided below
        options.AllowTlsResume = false; // a resumed session would not be checked against authorities that have changed
        options.CertificateChainPolicy = Certificates.Policy(clientAuthorities.Value, ClientUsage);
        options.RemoteCertificateValidationCallback = (_, shown, chain, errors) =>
        {
            if (errors == SslPolicyErrors.None || (errors == SslPolicyErrors.RemoteCertificateNotAvailable && !requiresCertificate))
                return true;
            problem = $"The client is refused: {Certificates.Describe(errors, shown, chain, "its own")}.";
            return false;
        };
        return options;
    }

    // The common name, then the alternative names; the first that is mapped counts. What else a subject says, an organization for example,
    // an authority may have taken from whoever asked, and of two common names it is not certain which one it has checked.
    private static IEnumerable<string> NamesOf(X509Certificate2 certificate)
    {
        var common = certificate.SubjectName.EnumerateRelativeDistinguishedNames()
            .Where(part => !part.HasMultipleElements && part.GetSingleElementType().Value == CommonName).Take(2).ToArray();
        if (common is [var only] && only.GetSingleElementValue() is { } name)
            yield return name;
        foreach (var extension in certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>())
        {
            foreach (var host in extension.EnumerateDnsNames())
                yield return host;
        }

        if (certificate.GetNameInfo(X509NameType.UrlName, forIssuer: false) is { Length: > 0 } url)
            yield return url;
    }
}
