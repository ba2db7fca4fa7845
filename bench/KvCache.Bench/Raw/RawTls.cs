using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace KvCache.Bench.Raw;

/// <summary>The raw loop with <see cref="SslStream"/> over a socket, as any program would use it.</summary>
internal static class RawTls
{
    private static readonly SocketTuning Tuning = new(0, Reno: true);

    /// <summary>A certificate for 127.0.0.1 that vouches for itself.</summary>
    public static X509Certificate2 NewCertificate()
    {
        var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=kvcache-bench", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(30));
    }

    /// <summary>Connects to a raw server's port with TLS.</summary>
    public static SslStream Connect(EndPoint address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Connect(address);
        Tuning.Apply(socket);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false, (_, _, _, _) => true);
        stream.AuthenticateAsClient("127.0.0.1");
        return stream;
    }

    /// <summary>The server's end of a connection.</summary>
    public static SslStream Accept(Socket socket, X509Certificate2 certificate)
    {
        Tuning.Apply(socket);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false);
        stream.AuthenticateAsServer(certificate);
        return stream;
    }
}
