using System.Security.Authentication;
using KvCache.Engine.Security;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Which names of a certificate stand for a tenant.</summary>
public sealed class CertificateNameTests : IDisposable
{
    private readonly TestAuthority _authority = new();
    private readonly TlsServer _server;

    public CertificateNameTests()
    {
        var (certificate, key) = _authority.Issue("silo");
        _server = new TlsServer(
            Certificates.Load("Tls", certificate, key, ""),
            Certificates.LoadAuthorities("Ca", _authority.CaFile),
            requiresCertificate: true,
            new Dictionary<string, string> { ["engine.acme"] = "acme", ["engine.other"] = "other" },
            SslProtocols.None);
    }

    public void Dispose() => _authority.Dispose();

    [Theory]
    [InlineData("acme", "CN=engine.acme")]
    [InlineData("acme", "CN=engine.acme, O=Example, OU=engine.other")]
    [InlineData("acme", "O=Example, CN=engine.acme")]
    [InlineData("other", "CN=somebody", "engine.other")]
    [InlineData("acme", "O=Example", "engine.acme")]
    [InlineData(null, "CN=somebody")]
    [InlineData(null, "CN=ENGINE.ACME")]
    [InlineData(null, "CN=*.acme", "*.acme")]
    public void The_common_name_and_the_alternative_names_count(string? tenant, string subject, params string[] hosts)
    {
        using var certificate = _authority.IssueFor(subject, hosts);
        Assert.Equal(tenant, _server.TenantOf(certificate));
    }

    [Theory]
    [InlineData("O=engine.acme")]
    [InlineData("OU=engine.acme, O=Example")]
    [InlineData("E=engine.acme")]
    [InlineData("CN=engine.acme, CN=somebody")]
    [InlineData("CN=somebody, CN=engine.acme")]
    [InlineData("CN=engine.acme+OU=Example")]
    public void What_else_a_subject_says_stands_for_nobody(string subject)
    {
        using var certificate = _authority.IssueFor(subject);
        Assert.Null(_server.TenantOf(certificate));
    }
}
