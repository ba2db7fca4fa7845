using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace KvCache.Testing;

/// <summary>An authority of certificates for one test, and files of what it signs.</summary>
internal sealed class TestAuthority : IDisposable
{
    private static readonly OidCollection Usages = [new("1.3.6.1.5.5.7.3.1"), new("1.3.6.1.5.5.7.3.2")];

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-ca-");
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    private readonly X509Certificate2 _certificate;

    public TestAuthority(string name = "Test Authority")
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(
            new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        _certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-30), DateTimeOffset.UtcNow.AddDays(30));
        CaFile = Write("ca.pem", _certificate.ExportCertificatePem());
    }

    /// <summary>PEM with the authority's certificate.</summary>
    public string CaFile { get; }

    public string Folder => _folder.FullName;

    /// <summary>Issues a certificate for a name, for 127.0.0.1 and for localhost, for both ends of a connection.</summary>
    /// <returns>Paths of the certificate and its key, as PEM.</returns>
    public (string Certificate, string Key) Issue(string name, string? file = null, DateTimeOffset? notAfter = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(name, key, notAfter);
        file ??= name;
        return (Write($"{file}.pem", certificate.ExportCertificatePem()), Write($"{file}.key", key.ExportPkcs8PrivateKeyPem()));
    }

    /// <summary>Issues a certificate of any subject.</summary>
    /// <param name="subject">The subject, as in <c>CN=a,O=b</c>.</param>
    /// <param name="hosts">Its alternative names.</param>
    public X509Certificate2 IssueFor(string subject, params string[] hosts)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return Sign(new X500DistinguishedName(subject), hosts, key, null);
    }

    /// <summary>Issues a certificate as a PFX file.</summary>
    public string IssuePfx(string name, string password)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(name, key, null);
        using var both = certificate.CopyWithPrivateKey(key);
        var path = Path.Combine(Folder, $"{name}.pfx");
        File.WriteAllBytes(path, both.Export(X509ContentType.Pfx, password));
        return path;
    }

    public void Dispose()
    {
        _certificate.Dispose();
        _key.Dispose();
        _folder.Delete(recursive: true);
    }

    private X509Certificate2 Sign(string name, ECDsa key, DateTimeOffset? notAfter) =>
        Sign(new X500DistinguishedName($"CN={name}"), ["localhost", name], key, notAfter);

    private X509Certificate2 Sign(X500DistinguishedName subject, string[] hosts, ECDsa key, DateTimeOffset? notAfter)
    {
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(
            new X509BasicConstraintsExtension(certificateAuthority: false, hasPathLengthConstraint: false, 0, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(Usages, critical: false));
        var names = new SubjectAlternativeNameBuilder();
        foreach (var host in hosts)
            names.AddDnsName(host);
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(
            X509AuthorityKeyIdentifierExtension.CreateFromCertificate(
            _certificate, includeKeyIdentifier: true, includeIssuerAndSerial: false));
        var end = notAfter ?? DateTimeOffset.UtcNow.AddDays(10);
        return request.Create(_certificate, end.AddDays(-20), end, RandomNumberGenerator.GetBytes(8));
    }

    private string Write(string name, string text)
    {
        // Whoever follows the file sees the old content or the new one, as of a mounted secret.
        var path = Path.Combine(Folder, name);
        File.WriteAllText(path + ".new", text);
        File.Move(path + ".new", path, overwrite: true);
        return path;
    }
}
