using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using KvCache.Engine.Security;

namespace KvCache.Client;

/// <summary>How a client speaks TLS with endpoints of the form <c>tls:host:port</c>.</summary>
/// <remarks>Files are read again when they change, for the connections that are made from then on.</remarks>
public sealed class KvCacheTlsOptions
{
    /// <summary>PEM with the authorities that are trusted. Default empty: those of the machine.</summary>
    public string CaFile
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>Name that the silos' certificates must have. Default empty: the host of the endpoint.</summary>
    public string ServerName
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>The client's own certificate, PEM or PFX, where silos ask for one. Default empty. It may stand for the tenant; no secret is
    /// needed then.</summary>
    public string CertificateFile
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>Its key, as PEM. Default empty: the certificate's file has it.</summary>
    public string KeyFile
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>Password of a PFX file or of an encrypted key. Default empty.</summary>
    public string Password
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>What is wrong with the settings or their files, in a sentence; null when nothing is.</summary>
    internal string? FindProblem()
    {
        if (KeyFile.Length > 0 && CertificateFile.Length == 0)
            return "Tls.KeyFile is set, and Tls.CertificateFile is empty; the client's certificate was expected there.";
        try
        {
            Create();
            return null;
        }
        catch (FormatException e)
        {
            return e.Message;
        }
    }

    /// <exception cref="FormatException">A file cannot be used; the message is one sentence.</exception>
    internal TlsClient Create()
    {
        LiveFile<X509Certificate2Collection>? authorities = CaFile.Length > 0 ? Certificates.LoadAuthorities("Tls.CaFile", CaFile) : null;
        LiveFile<SslStreamCertificateContext>? certificate = CertificateFile.Length > 0
            ? Certificates.Load("Tls.CertificateFile", CertificateFile, KeyFile, Password)
            : null;
        return new TlsClient(authorities, ServerName, certificate);
    }
}
