using System.ComponentModel.DataAnnotations;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using KvCache.Engine.Security;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;

namespace KvCache.Silo.Security;

/// <summary>TLS of this silo: what its ports show, what it shows to other silos, and whom it trusts.</summary>
internal sealed class SiloTls : ILiveFiles
{
    private readonly TlsServer? _server;
    private readonly TlsPorts _ports;

    private SiloTls(TlsServer? server, TlsPorts ports, TlsClient peers, bool trustsOnlyNamed, IReadOnlyList<ILiveFile> files) =>
        (_server, _ports, Peers, TrustsOnlyNamed, Files) = (server, ports, peers, trustsOnlyNamed, files);

    /// <summary>How this silo connects to others.</summary>
    public TlsClient Peers { get; }

    /// <summary>Whether other silos are known by an authority of their own.</summary>
    public bool TrustsOnlyNamed { get; }

    /// <summary>Files that may change.</summary>
    public IEnumerable<ILiveFile> Files { get; }

    /// <summary>What a port of this silo shows; null when it is a plain one.</summary>
    public TlsServer? For(TlsPorts port) => _ports.HasFlag(port) ? _server : null;

    /// <summary>What any port shows; null without a certificate.</summary>
    public TlsServer? Server => _server;

    /// <summary>An accepted connection.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="server">What the port shows; null for a plain one.</param>
    public static ByteChannel Accept(Socket socket, TlsServer? server) =>
        server is null || socket.AddressFamily == AddressFamily.Unix
            ? new PlainChannel(socket)
            : new TlsChannel(socket, server.Authenticate);

    /// <summary>Reads the section and the files that it names.</summary>
    /// <exception cref="FormatException">Something cannot be used; the message is one sentence.</exception>
    public static SiloTls Create(IConfiguration configuration)
    {
        var options = configuration.GetSection(TlsOptions.Section).Get<TlsOptions>() ?? new TlsOptions();
        if (options.Validate(new ValidationContext(options)).FirstOrDefault() is { } problem)
            throw new FormatException(problem.ErrorMessage);
        var protocols = options.MinVersion == TlsVersion.Tls13 ? SslProtocols.Tls13 : SslProtocols.Tls12 | SslProtocols.Tls13;
        var files = new List<ILiveFile>();
        var authorities = options.CaFile.Length > 0
            ? Add(Certificates.LoadAuthorities($"{TlsOptions.Section}:CaFile", options.CaFile))
            : null;
        var clientAuthorities = options.ClientCaFile.Length > 0
            ? Add(Certificates.LoadAuthorities($"{TlsOptions.Section}:ClientCaFile", options.ClientCaFile))
            : null;
        LiveFile<SslStreamCertificateContext>? certificate = null;
        if (options.CertificateFile.Length > 0)
        {
            certificate =
                Add(Certificates.Load(
                $"{TlsOptions.Section}:CertificateFile", options.CertificateFile, options.KeyFile, options.Password, authorities));
        }

        var tenants = options.Clients.ToDictionary(client => client.Name, client => client.Tenant, StringComparer.Ordinal);
        var server = certificate is null
            ? null
            : new TlsServer(certificate, clientAuthorities, options.RequireClientCertificate, tenants, protocols);
        return new SiloTls(
            server, options.Ports, new TlsClient(authorities, options.ServerName, certificate, protocols), authorities is not null, files);

        LiveFile<T> Add<T>(LiveFile<T> file)
            where T : class
        {
            files.Add(file);
            return file;
        }
    }
}
