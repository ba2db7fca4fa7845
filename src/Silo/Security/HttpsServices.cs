using KvCache.Silo.Options;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace KvCache.Silo.Security;

/// <summary>HTTPS with the silo's certificate.</summary>
internal static class HttpsServices
{
    /// <summary>Lets addresses that begin with <c>https</c> speak TLS as the other ports do.</summary>
    /// <exception cref="FormatException">There is such an address, and no certificate.</exception>
    public static void UseHttps(this WebApplicationBuilder builder, bool isUsed)
    {
        if (!isUsed)
            return;
        if (string.IsNullOrEmpty(builder.Configuration[$"{TlsOptions.Section}:{nameof(TlsOptions.CertificateFile)}"]))
            throw new FormatException(
                $"--http has an address that begins with https, and {TlsOptions.Section}:CertificateFile is empty; the silo's certificate "
                + "was expected there.");
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.Services.AddOptions<KestrelServerOptions>().Configure<SiloTls>((kestrel, tls) => kestrel.ConfigureHttpsDefaults(https =>
        {
            https.ServerCertificateSelector = (_, _) => null; // asked for, and never called
            https.OnAuthenticate = (_, handshake) =>
            {
                handshake.ServerCertificateSelectionCallback = null;
                SslOptions.Copy(tls.Server!.CreateOptions(), handshake);
            };
        }));
    }
}
