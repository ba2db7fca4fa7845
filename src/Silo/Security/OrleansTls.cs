using System.Net;
using System.Net.Security;
using KvCache.Engine.Security;
using KvCache.Silo.Options;
using Orleans.Connections.Security;
using Orleans.Hosting;

namespace KvCache.Silo.Security;

/// <summary>TLS on Orleans' ports, before anything else is said there.</summary>
internal static class OrleansTls
{
    /// <summary>Encrypts the connections between silos and at the gateway, where the silo has a certificate.</summary>
    public static ISiloBuilder UseSiloTls(this ISiloBuilder silo, SiloTls tls) => tls.For(TlsPorts.Orleans) is { } server
        ? silo.UseTls(options => Configure(options, server, tls.Peers))
        : silo;

    // The package's own checks are replaced by ours, for every handshake anew: files may have changed.
    private static void Configure(global::Orleans.Connections.Security.TlsOptions options, TlsServer server, TlsClient peers)
    {
        options.LocalServerCertificateSelector = (_, _) => null!; // asked for, and never called
        options.RemoteCertificateMode = options.ClientCertificateMode = RemoteCertificateMode.NoCertificate;
        options.OnAuthenticateAsServer = (_, handshake) =>
        {
            handshake.ServerCertificateSelectionCallback = null;
            SslOptions.Copy(server.CreateOptions(), (SslServerAuthenticationOptions)handshake.SslServerAuthenticationOptions);
        };
        options.OnAuthenticateAsClient = (connection, handshake) =>
        {
            var host = connection.RemoteEndPoint is IPEndPoint ip ? ip.Address.ToString() : "";
            SslOptions.Copy(peers.OptionsFor(host, out _), (SslClientAuthenticationOptions)handshake.SslClientAuthenticationOptions);
        };
    }
}
