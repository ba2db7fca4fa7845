using System.ComponentModel.DataAnnotations;
using System.Security.Cryptography;
using System.Text;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using Microsoft.Extensions.Options;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Tokens of who runs a silo, from files.</summary>
public sealed class OperatorTokensTests : IDisposable
{
    private const string Administrator = "the administrator's token", Scraper = "the scraper's token", New = "a token that comes later";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-tokens-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_token_is_exchanged_by_its_file()
    {
        var file = Write("scraper", Scraper);
        var tokens = Load(new AccountOptions { AdminToken = Administrator, ScrapeTokenFile = file });
        Assert.Equal([Digest(Administrator)], tokens.Administrator);
        Assert.Equal([Digest(Scraper)], tokens.Scraper);

        Write("scraper", Scraper, New);
        Assert.True(Assert.Single(tokens.Files).Refresh(out var problem));
        Assert.Null(problem);
        Assert.Equal([Digest(Scraper), Digest(New)], tokens.Scraper);
    }

    [Fact]
    public void A_file_that_cannot_be_used_ends_the_start_and_changes_nothing_later()
    {
        foreach (var (content, sentence) in new[]
        {
            ("short", "is too short"), ("", "has 0 lines"), (Administrator, "so that whoever reads figures could change tenants"),
        })
        {
            var file = Write("scraper", content);
            Assert.Contains(
                sentence,
                Assert.Throws<FormatException>(() => Load(new AccountOptions { AdminToken = Administrator, ScrapeTokenFile = file })).Message,
                StringComparison.Ordinal);

            Write("scraper", Scraper);
            var tokens = Load(new AccountOptions { AdminToken = Administrator, ScrapeTokenFile = file });
            Write("scraper", content);
            Assert.True(Assert.Single(tokens.Files).Refresh(out var problem));
            Assert.Contains(sentence, problem, StringComparison.Ordinal);
            Assert.Equal([Digest(Scraper)], tokens.Scraper);
        }

        Assert.Contains(
            "ScrapeTokenFile", Assert.Throws<FormatException>(() => Load(new AccountOptions { ScrapeTokenFile = "/no/such/file" })).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_token_and_its_file_together_are_refused_and_an_administrator_by_file_needs_the_file_of_changes()
    {
        Assert.Contains("has ScrapeToken and ScrapeTokenFile", Explain(new AccountOptions { ScrapeToken = Scraper, ScrapeTokenFile = "/x" }),
            StringComparison.Ordinal);
        Assert.Contains("File is empty", Explain(new AccountOptions { AdminTokenFile = "/x" }), StringComparison.Ordinal);
        Assert.Equal("", Explain(new AccountOptions { AdminTokenFile = "/x", ScrapeTokenFile = "/y", File = "/z" }));
    }

    private static OperatorTokens Load(AccountOptions options) => new(Options.Create(options));

    private static string Explain(AccountOptions options) =>
        string.Join(' ', options.Validate(new ValidationContext(options)).Select(result => result.ErrorMessage));

    private static byte[] Digest(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));

    private string Write(string name, params string[] lines)
    {
        var path = Path.Combine(_folder.FullName, name);
        File.WriteAllLines(path, lines);
        return path;
    }
}
