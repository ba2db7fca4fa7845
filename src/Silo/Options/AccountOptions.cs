using System.ComponentModel.DataAnnotations;
using System.Text;

namespace KvCache.Silo.Options;

/// <summary>Who runs the silo, and the tenants that they make, change and delete while silos run.</summary>
internal sealed class AccountOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Accounts";

    /// <summary>
    /// Bearer token of the administrator, at least 16 bytes. Default empty: nobody administers over HTTP.
    /// </summary>
    public string AdminToken { get; set; } = "";

    /// <summary>File with that token, and with a second one that is valid too in a second line, instead of the setting. Default empty. Read
    /// again when it changes.</summary>
    public string AdminTokenFile { get; set; } = "";

    /// <summary>Bearer token of whoever may see the silo's figures, and change nothing, at least 16 bytes. Default empty: the administrator
    /// alone.</summary>
    public string ScrapeToken { get; set; } = "";

    /// <summary>File with that token, as <see cref="AdminTokenFile"/>. Default empty.</summary>
    public string ScrapeTokenFile { get; set; } = "";

    /// <summary>
    /// Whether whoever comes over the loopback interface sees the silo's figures without a token. Default empty: where no tenant has a
    /// secret. A proxy on the silo's machine comes
    /// over that interface for whoever it serves.
    /// </summary>
    public bool? ShowLoopback { get; set; }

    /// <summary>
    /// File that keeps the changes, with secrets, mode 0600; its folder must be writable. Default empty: there are no changes. Every silo
    /// has a file of its own, and silos tell one another
    /// what is newer.
    /// </summary>
    public string File { get; set; } = "";

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var (name, token, file) in new[]
        {
            (nameof(AdminToken), AdminToken, AdminTokenFile), (nameof(ScrapeToken), ScrapeToken, ScrapeTokenFile),
        })
        {
            if (token.Length > 0 && Encoding.UTF8.GetByteCount(token) < TenantOptions.MinSecretBytes)
                yield return new ValidationResult(
                    $"{Section}:{name} is too short; at least {TenantOptions.MinSecretBytes} bytes were expected.", [name]);
            if (token.Length > 0 && file.Length > 0)
                yield return new ValidationResult($"{Section} has {name} and {name}File; one of them was expected.", [name]);
        }

        if (ScrapeToken.Length > 0 && ScrapeToken == AdminToken)
            yield return new ValidationResult(
                $"{Section}:ScrapeToken is the administrator's, so that whoever reads figures could change tenants. Choose another one.",
                [nameof(ScrapeToken)]);
        if (File.Length > 0 && !Path.IsPathFullyQualified(File))
            yield return new ValidationResult(
                $"{Section}:File is '{File}'; an absolute path was expected, for example /var/lib/kvcache/tenants.json.", [nameof(File)]);
        if (AdminToken.Length + AdminTokenFile.Length > 0 && File.Length == 0)
            yield return new ValidationResult(
                $"There is a token of an administrator, and {Section}:File is empty; what the administrator changes would be gone with the "
                + "silo. Name a file.", [nameof(File)]);
    }
}
