using System.Net.Security;

namespace KvCache.Silo.Security;

/// <summary>Carries what a handshake of ours needs into options that another library has made.</summary>
internal static class SslOptions
{
    public static void Copy(SslServerAuthenticationOptions from, SslServerAuthenticationOptions to)
    {
        to.ServerCertificateContext = from.ServerCertificateContext;
        to.EnabledSslProtocols = from.EnabledSslProtocols;
        to.AllowRenegotiation = from.AllowRenegotiation;
        to.AllowTlsResume = from.AllowTlsResume;
        to.ClientCertificateRequired = from.ClientCertificateRequired;
        to.CertificateChainPolicy = from.CertificateChainPolicy;
        to.RemoteCertificateValidationCallback = from.RemoteCertificateValidationCallback;
    }

    public static void Copy(SslClientAuthenticationOptions from, SslClientAuthenticationOptions to)
    {
        to.TargetHost = from.TargetHost;
        to.ClientCertificateContext = from.ClientCertificateContext;
        to.EnabledSslProtocols = from.EnabledSslProtocols;
        to.AllowRenegotiation = from.AllowRenegotiation;
        to.CertificateChainPolicy = from.CertificateChainPolicy;
        to.RemoteCertificateValidationCallback = from.RemoteCertificateValidationCallback;
    }
}
