using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Security;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Security;

/// <summary>Tokens of who runs the silo, as digests: those of now, where they come from files.</summary>
internal sealed class OperatorTokens : ILiveFiles
{
    private readonly LiveFile<IReadOnlyList<byte[]>>? _administratorFile, _scraperFile;
    private readonly IReadOnlyList<byte[]> _administrator, _scraper;

    /// <exception cref="FormatException">A file of tokens cannot be used; the message is one sentence.</exception>
    public OperatorTokens(IOptions<AccountOptions> options)
    {
        var accounts = options.Value;
        (_administrator, _scraper) = (DigestsOf(accounts.AdminToken), DigestsOf(accounts.ScrapeToken));
        _administratorFile = Load(nameof(AccountOptions.AdminTokenFile), accounts.AdminTokenFile, () => Scraper);
        _scraperFile = Load(nameof(AccountOptions.ScrapeTokenFile), accounts.ScrapeTokenFile, () => Administrator);
    }

    /// <summary>SHA-256 of the administrator's tokens; none when nobody administers.</summary>
    public IReadOnlyList<byte[]> Administrator => _administratorFile?.Value ?? _administrator;

    /// <summary>SHA-256 of the tokens of whoever sees figures.</summary>
    public IReadOnlyList<byte[]> Scraper => _scraperFile?.Value ?? _scraper;

    /// <inheritdoc/>
    public IEnumerable<ILiveFile> Files => new ILiveFile?[] { _administratorFile, _scraperFile }.OfType<ILiveFile>();

    private static IReadOnlyList<byte[]> DigestsOf(string token) =>
        token.Length == 0 ? [] : [SHA256.HashData(Encoding.UTF8.GetBytes(token))];

    private static LiveFile<IReadOnlyList<byte[]>>? Load(string name, string file, Func<IReadOnlyList<byte[]>> others) =>
        file.Length == 0
            ? null
            : SecretFiles.Load($"{AccountOptions.Section}:{name}", file, SHA256.HashData, digests =>
                others().Any(digests.Knows)
                    ? $"'{file}' has a token that is the administrator's and the scraper's, so that whoever reads figures could change "
                        + "tenants. Choose another one."
                    : null);
}
