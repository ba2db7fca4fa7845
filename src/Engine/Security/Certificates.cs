using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace KvCache.Engine.Security;

/// <summary>Certificates out of files. What is wrong with one is said in a sentence.</summary>
internal static class Certificates
{
    /// <summary>A certificate with its key and the certificates between it and its CA, from a PEM pair or a PFX file.</summary>
    /// <param name="name">The setting, for messages.</param>
    /// <param name="certificateFile">PEM with the certificate first, or PFX.</param>
    /// <param name="keyFile">PEM with the key; empty where the certificate's file has it.</param>
    /// <param name="password">Of a PFX file, or of an encrypted PEM key; empty for none.</param>
    /// <param name="authorities">Authorities of which one must have signed it; null for any.</param>
    /// <exception cref="FormatException">They cannot be used.</exception>
    public static LiveFile<SslStreamCertificateContext> Load(
        string name, string certificateFile, string keyFile, string password, LiveFile<X509Certificate2Collection>? authorities = null) =>
        new(name, [certificateFile, keyFile],
            contents => Parse(name, certificateFile, keyFile, contents[0], contents[1], password, authorities?.Fresh()));

    /// <summary>Certificates of authorities, from a PEM file.</summary>
    /// <param name="name">The setting, for messages.</param>
    /// <param name="file">The file.</param>
    /// <exception cref="FormatException">It cannot be used.</exception>
    public static LiveFile<X509Certificate2Collection> LoadAuthorities(string name, string file) => new(name, [file], contents =>
    {
        var authorities = new X509Certificate2Collection();
        try
        {
            authorities.ImportFromPem(Encoding.UTF8.GetString(contents[0]));
        }
        catch (CryptographicException e)
        {
            throw new FormatException($"{name}: '{file}' is not PEM: {e.Message}", e);
        }

        if (authorities.Count == 0)
            throw new FormatException($"{name}: '{file}' contains no certificate; PEM with the certificates of authorities was expected.");
        foreach (var authority in authorities)
            CheckTime(name, file, authority);
        return authorities;
    });

    /// <summary>What a chain is checked against: these authorities and no others, or those of the machine.</summary>
    public static X509ChainPolicy Policy(X509Certificate2Collection? authorities, string usage)
    {
        var policy = new X509ChainPolicy { RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true };
        policy.ApplicationPolicy.Add(new Oid(usage));
        if (authorities is null)
            return policy;
        policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        policy.CustomTrustStore.AddRange(authorities);
        return policy;
    }

    /// <summary>Why a certificate was not accepted.</summary>
    public static string Describe(SslPolicyErrors errors, X509Certificate? certificate, X509Chain? chain, string expectedName)
    {
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable) || certificate is null)
            return "it has shown no certificate";
        var leaf = certificate as X509Certificate2;
        if (leaf is not null && leaf.NotAfter < DateTime.Now)
            return $"its certificate has expired on {Day(leaf.NotAfter)}";
        if (leaf is not null && leaf.NotBefore > DateTime.Now)
            return $"its certificate is valid from {Day(leaf.NotBefore)} on";
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateChainErrors))
            return $"its certificate ({certificate.Subject}) does not come from an authority that is trusted here: "
                + $"{chain?.ChainStatus.FirstOrDefault().StatusInformation.Trim()}";
        return $"its certificate ({certificate.Subject}) is for another name than {expectedName}";
    }

    private static SslStreamCertificateContext Parse(
        string name, string file, string keyFile, byte[] certificate, byte[] key, string password, X509Certificate2Collection? authorities)
    {
        var others = new X509Certificate2Collection();
        X509Certificate2 leaf;
        try
        {
            leaf = IsPem(certificate)
                ? ParsePem(name, file, keyFile, certificate, key, password, others)
                : ParsePfx(name, file, certificate, password, others);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new FormatException($"{name}: '{file}' is no certificate with a key: {e.Message}", e);
        }

        CheckTime(name, file, leaf);
        if (authorities is not null)
            CheckAuthority(name, file, leaf, others, authorities);
        return SslStreamCertificateContext.Create(leaf, others, offline: true);
    }

    private static X509Certificate2 ParsePem(
        string name, string file, string keyFile, byte[] certificate, byte[] key, string password, X509Certificate2Collection others)
    {
        var text = Encoding.UTF8.GetString(certificate);
        others.ImportFromPem(text);
        if (others.Count == 0)
            throw new FormatException($"{name}: '{file}' contains no certificate.");
        var keyText = key.Length > 0 ? Encoding.UTF8.GetString(key) : text;
        var keyName = key.Length > 0 ? keyFile : file;
        if (!keyText.Contains("PRIVATE KEY-----", StringComparison.Ordinal))
            throw new FormatException($"{name}: '{keyName}' contains no private key; PEM was expected.");
        try
        {
            return password.Length > 0 && keyText.Contains("ENCRYPTED", StringComparison.Ordinal)
                ? X509Certificate2.CreateFromEncryptedPem(text, keyText, password)
                : X509Certificate2.CreateFromPem(text, keyText);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new FormatException($"{name}: the key in '{keyName}' does not fit the certificate in '{file}': {e.Message}", e);
        }
    }

    private static X509Certificate2 ParsePfx(string name, string file, byte[] bytes, string password, X509Certificate2Collection others)
    {
        others.AddRange(X509CertificateLoader.LoadPkcs12Collection(bytes, password));
        return others.FirstOrDefault(certificate => certificate.HasPrivateKey)
            ?? throw new FormatException($"{name}: '{file}' contains no private key.");
    }

    private static void CheckAuthority(
        string name, string file, X509Certificate2 leaf, X509Certificate2Collection others, X509Certificate2Collection authorities)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(authorities);
        chain.ChainPolicy.ExtraStore.AddRange(others);
        if (!chain.Build(leaf))
            throw new FormatException(
                $"{name}: the certificate '{leaf.Subject}' in '{file}' does not come from an authority of the CA file: "
                + $"{chain.ChainStatus.FirstOrDefault().StatusInformation.Trim()}.");
    }

    private static bool IsPem(ReadOnlySpan<byte> bytes) => bytes.IndexOf("-----BEGIN "u8) >= 0;

    private static void CheckTime(string name, string file, X509Certificate2 certificate)
    {
        if (certificate.NotAfter < DateTime.Now)
            throw new FormatException(
                $"{name}: the certificate '{certificate.Subject}' in '{file}' has expired on {Day(certificate.NotAfter)}.");
        if (certificate.NotBefore > DateTime.Now)
            throw new FormatException(
                $"{name}: the certificate '{certificate.Subject}' in '{file}' is valid from {Day(certificate.NotBefore)} on.");
    }

    private static string Day(DateTime time) => time.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture);
}
