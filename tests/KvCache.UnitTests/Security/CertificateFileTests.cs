using KvCache.Engine.Security;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

public sealed class CertificateFileTests : IDisposable
{
    private readonly TestAuthority _authority = new();

    public void Dispose() => _authority.Dispose();

    [Fact]
    public void A_pem_pair_and_a_pfx_file_are_certificates()
    {
        var (certificate, key) = _authority.Issue("a");
        Assert.Equal("CN=a", Certificates.Load("Tls", certificate, key, "").Value.TargetCertificate.Subject);
        Assert.Equal("CN=b", Certificates.Load("Tls", _authority.IssuePfx("b", "word"), "", "word").Value.TargetCertificate.Subject);
    }

    [Fact]
    public void A_key_that_does_not_fit_is_told_in_one_sentence()
    {
        var (certificate, _) = _authority.Issue("a");
        var (_, key) = _authority.Issue("b");
        Refused(() => Certificates.Load("Tls", certificate, key, ""), "does not fit the certificate");
    }

    [Fact]
    public void A_certificate_that_has_expired_is_told_in_one_sentence()
    {
        var (certificate, key) = _authority.Issue("a", notAfter: DateTimeOffset.UtcNow.AddDays(-1));
        Refused(() => Certificates.Load("Tls", certificate, key, ""), "has expired");
    }

    [Fact]
    public void A_certificate_of_a_foreign_authority_is_told_in_one_sentence()
    {
        using var other = new TestAuthority("Other");
        var (certificate, key) = other.Issue("a");
        Refused(() => Certificates.Load("Tls", certificate, key, "", Certificates.LoadAuthorities("Ca", _authority.CaFile)),
            "does not come from an authority");
    }

    [Theory]
    [InlineData("", "contains no private key")]
    [InlineData("garbage", "no certificate")]
    public void What_is_no_certificate_is_told_in_one_sentence(string content, string expected)
    {
        var (certificate, _) = _authority.Issue("a");
        var path = certificate;
        if (content.Length > 0)
            File.WriteAllText(path = Path.Combine(_authority.Folder, "x.pem"), content);
        Refused(() => Certificates.Load("Tls", path, "", ""), expected);
        Refused(() => Certificates.Load("Tls", "/nowhere/x.pem", "", ""), "cannot be opened");
    }

    [Fact]
    public void A_changed_file_is_taken_over_and_a_wrong_one_changes_nothing()
    {
        var (certificate, key) = _authority.Issue("first", "silo");
        var live = Certificates.Load("Tls", certificate, key, "");
        Assert.False(live.Refresh(out _));
        _authority.Issue("second", "silo");
        Assert.True(live.Refresh(out var problem));
        Assert.Null(problem);
        Assert.Equal("CN=second", live.Value.TargetCertificate.Subject);

        _authority.Issue("third", "silo", notAfter: DateTimeOffset.UtcNow.AddDays(-1));
        Assert.True(live.Refresh(out problem));
        Assert.Contains("has expired", problem, StringComparison.Ordinal);
        Assert.Equal("CN=second", live.Value.TargetCertificate.Subject);
        Assert.False(live.Refresh(out _)); // told once
    }

    private static void Refused(Action load, string expected)
    {
        var error = Assert.Throws<FormatException>(load);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}
