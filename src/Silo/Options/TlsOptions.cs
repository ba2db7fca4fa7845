using System.ComponentModel.DataAnnotations;
using KvCache.Silo.Data;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Options;

/// <summary>Ports that may speak TLS. The HTTP API does where its address begins with <c>https</c>.</summary>
[Flags]
internal enum TlsPorts
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The data plane's TCP port.</summary>
    DataPlane = 1,

    /// <summary>The Redis endpoint.</summary>
    Resp = 2,

    /// <summary>The lm:// endpoint.</summary>
    LmCache = 4,

    /// <summary>Orleans' ports, between silos and for Orleans clients.</summary>
    Orleans = 8,

    /// <summary>All of them.</summary>
    All = DataPlane | Resp | LmCache | Orleans,
}

/// <summary>Oldest version of TLS that is spoken.</summary>
internal enum TlsVersion
{
    /// <summary>TLS 1.2 (RFC 5246).</summary>
    Tls12,

    /// <summary>TLS 1.3 (RFC 8446).</summary>
    Tls13,
}

/// <summary>Encryption of this silo's ports, and of its connections to other silos. Off unless <see cref="CertificateFile"/> is
/// set.</summary>
internal sealed class TlsOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Tls";

    /// <summary>
    /// The silo's certificate: PEM, with the certificates between it and its authority behind it, or PFX. Default empty: no port speaks
    /// TLS. Files are read again when
    /// they change; connections that exist go on. A silo shows it to other silos too, so that it serves for both ends of a connection.
    /// </summary>
    public string CertificateFile { get; set; } = "";

    /// <summary>The certificate's key, as PEM. Default empty: the certificate's file has it.</summary>
    public string KeyFile { get; set; } = "";

    /// <summary>Password of a PFX file or of an encrypted key. Default empty.</summary>
    public string Password { get; set; } = "";

    /// <summary>PEM with the authorities of the other silos' certificates, and of this one's. Default empty: those of the
    /// machine.</summary>
    public string CaFile { get; set; } = "";

    /// <summary>Name that the other silos' certificates have. Default empty: the host of the address at which a silo is reached.</summary>
    public string ServerName { get; set; } = "";

    /// <summary>
    /// PEM with the authorities of clients' certificates. Default empty: clients are not asked for one. Silos are clients of one another:
    /// the authorities of theirs belong
    /// into this file too.
    /// </summary>
    public string ClientCaFile { get; set; } = "";

    /// <summary>Whether a client without a certificate is refused, where <see cref="ClientCaFile"/> is set. Default true.</summary>
    public bool RequireClientCertificate { get; set; } = true;

    /// <summary>Names in clients' certificates, and whose they are. Such a client is that tenant, and needs no secret.</summary>
    public IList<TlsClientName> Clients { get; } = [];

    /// <summary>Oldest version that is spoken. Default <see cref="TlsVersion.Tls12"/>.</summary>
    public TlsVersion MinVersion { get; set; }

    /// <summary>Ports that speak TLS where there is a certificate; the others stay plain. Default all.</summary>
    public TlsPorts Ports { get; set; } = TlsPorts.All;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (CertificateFile.Length == 0 && (KeyFile.Length > 0 || ClientCaFile.Length > 0 || Clients.Count > 0))
            yield return new ValidationResult(
                $"{Section} names a key or clients, and {Section}:CertificateFile is empty; the silo's certificate was expected there.",
                [nameof(CertificateFile)]);
        if (Clients.Count > 0 && ClientCaFile.Length == 0)
            yield return new ValidationResult(
                $"{Section}:Clients maps certificates to tenants, and {Section}:ClientCaFile is empty; the authorities of those "
                + "certificates were expected there.", [nameof(ClientCaFile)]);
        foreach (var client in Clients)
        {
            if (client.Name.Length == 0 || client.Tenant.Length == 0)
                yield return new ValidationResult(
                    $"{Section}:Clients has an entry without a Name or a Tenant; both were expected.", [nameof(Clients)]);
        }

        if (Clients.GroupBy(client => client.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
            yield return new ValidationResult($"{Section}:Clients has the name '{twice.Key}' more than once.", [nameof(Clients)]);
    }
}

/// <summary>Checks that certificates stand for tenants that there are.</summary>
internal sealed class TlsOptionsValidator(IOptions<TenantOptions> tenants) : IValidateOptions<TlsOptions>
{
    public ValidateOptionsResult Validate(string? name, TlsOptions options)
    {
        var known = tenants.Value.Tenants;
        return options.Clients.FirstOrDefault(
            client => known.Count > 0 ? !known.ContainsKey(client.Tenant) : client.Tenant != TenantRegistry.DefaultTenant) is { } unknown
            ? ValidateOptionsResult.Fail(
                $"{TlsOptions.Section}:Clients maps '{unknown.Name}' to the tenant '{unknown.Tenant}', and {TenantOptions.Section} has no "
                + "such tenant. Name one of those that it has.")
            : ValidateOptionsResult.Success;
    }
}

/// <summary>A name in clients' certificates, and the tenant that it stands for.</summary>
internal sealed class TlsClientName
{
    /// <summary>Common name, or a DNS or URI name among the alternative ones.</summary>
    public string Name { get; set; } = "";

    /// <summary>The tenant.</summary>
    public string Tenant { get; set; } = "";
}
