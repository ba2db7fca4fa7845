using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.Engine.Security;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>
/// Where a Redis listens and who we are there, written <c>host:port[,user=…][,password=…][,db=N]</c> or <c>unix:/path[,…]</c>; or, with
/// <c>sentinel=NAME[,sentinelpassword=…]</c>, the sentinels that know the master of that name, with <c>;</c> between their addresses.
/// </summary>
internal sealed class RedisEndpoint
{
    private const int LongestSocketPath = 107;

    private string? _password;
    private LiveFile<string>? _passwordFile;
    private RedisSentinels? _sentinels;
    private string? _sentinelPassword;
    private string _masterName = "";

    private RedisEndpoint(EndPoint address, string text)
    {
        Address = address;
        Text = text;
    }

    /// <summary>An IP address, a name with a port, or a path.</summary>
    public EndPoint Address { get; }

    /// <summary>The address alone, as it may appear in logs.</summary>
    public string Text { get; }

    public string? User { get; private set; }

    /// <summary>The password of now: that of the file, where there is one.</summary>
    public string? Password => _passwordFile?.Fresh() ?? _password;

    /// <summary>How the server is spoken to with TLS; null for plain connections.</summary>
    public TlsClient? Tls { get; private set; }

    /// <summary>The host that was written: the name that a certificate must have.</summary>
    public string Host => Address switch
    {
        IPEndPoint ip => ip.Address.ToString(),
        DnsEndPoint name => name.Host,
        _ => "localhost",
    };

    /// <summary>Files that may change.</summary>
    public IReadOnlyList<ILiveFile> Files { get; private set; } = [];

    public int Database { get; private set; }

    /// <summary>Where the server is now: the address that was written, or what the sentinels say.</summary>
    /// <exception cref="RedisException">No sentinel knows it.</exception>
    public EndPoint Locate(Deadline deadline) => _sentinels?.Locate(deadline) ?? Address;

    /// <summary>The Redis of the options, with the files that they name.</summary>
    /// <exception cref="FormatException">Something cannot be used; the message is one sentence.</exception>
    public static RedisEndpoint Create(RedisTierOptions options)
    {
        const string Section = RedisTierOptions.Section;
        if (!TryParse(options.ConnectionString, options.PasswordFile.Length > 0, out var endpoint, out var problem))
            throw new FormatException($"{Section}:ConnectionString: {problem}.");
        var files = new List<ILiveFile>();
        if (options.PasswordFile.Length > 0)
        {
            if (endpoint._password is not null)
                throw new FormatException(
                    $"{Section}:ConnectionString has a password, and {Section}:PasswordFile is set too; one of them was expected.");
            files.Add(endpoint._passwordFile =
                new LiveFile<string>(
                $"{Section}:PasswordFile", [options.PasswordFile], contents =>
                Encoding.UTF8.GetString(contents[0]).Trim() is { Length: > 0 } password
                ? password
                : throw new FormatException($"{Section}:PasswordFile: '{options.PasswordFile}' is empty.")));
        }

        if (options.Tls.Enabled)
        {
            if (endpoint.Address is UnixDomainSocketEndPoint)
                throw new FormatException($"{Section}:Tls is enabled, and {Section}:ConnectionString is a Unix socket, which has none.");
            var authorities = options.Tls.CaFile.Length > 0
                ? Certificates.LoadAuthorities($"{Section}:Tls:CaFile", options.Tls.CaFile)
                : null;
            var certificate = options.Tls.CertificateFile.Length > 0
                ? Certificates.Load(
                    $"{Section}:Tls:CertificateFile", options.Tls.CertificateFile, options.Tls.KeyFile, options.Tls.Password)
                : null;
            endpoint.Tls = new TlsClient(authorities, options.Tls.ServerName, certificate);
            files.AddRange(((ILiveFile?[])[authorities, certificate]).OfType<ILiveFile>());
        }

        endpoint.Files = files;
        endpoint.UseSentinels();
        return endpoint;
    }

    /// <summary>Parses a connection string.</summary>
    /// <param name="text">The connection string.</param>
    /// <param name="endpoint">What it names.</param>
    /// <param name="problem">What is wrong with it; never repeats a password.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out RedisEndpoint? endpoint, [NotNullWhen(false)] out string? problem) =>
        TryParse(text, hasPassword: false, out endpoint, out problem);

    private static bool TryParse(
        string text, bool hasPassword, [NotNullWhen(true)] out RedisEndpoint? endpoint, [NotNullWhen(false)] out string? problem)
    {
        var parts = text.Split(',');
        var addresses = parts[0].Split(';', StringSplitOptions.TrimEntries);
        if (Array.Find(addresses, one => ParseAddress(one) is null) is { } wrong)
        {
            endpoint = null;
            problem = $"'{wrong}' is not an address; host:port or unix:/path was expected";
            return false;
        }

        endpoint = new RedisEndpoint(ParseAddress(addresses[0])!, parts[0].Trim());

        problem = parts.Skip(1).Select(endpoint.Set).FirstOrDefault(found => found is not null);
        if (problem is null && endpoint is { User: not null, _password: null } && !hasPassword)
            problem = "user= needs password= beside it";
        if (problem is null && endpoint._masterName.Length == 0 && addresses.Length > 1)
            problem = "several addresses are those of sentinels; sentinel=NAME was expected behind them. A Redis Cluster is not supported";
        if (problem is null && endpoint is { _sentinelPassword: not null, _masterName: "" })
            problem = "sentinelpassword= needs sentinel= beside it";
        if (problem is not null)
            endpoint = null;
        endpoint?.UseSentinels();
        return endpoint is not null;
    }

    private void UseSentinels()
    {
        if (_masterName.Length > 0)
            _sentinels = new RedisSentinels(
                [.. Text.Split(';', StringSplitOptions.TrimEntries).Select(
                    one => new RedisEndpoint(ParseAddress(one)!, one) { _password = _sentinelPassword, Tls = Tls })],
                _masterName);
    }

    /// <summary>Parses <c>host:port</c> or <c>unix:/path</c>; null for anything else.</summary>
    internal static EndPoint? ParseAddress(string text)
    {
        const string Unix = "unix:";
        if (text.StartsWith(Unix, StringComparison.Ordinal))
        {
            var path = text[Unix.Length..];
            return Path.IsPathFullyQualified(path) && Encoding.UTF8.GetByteCount(path) <= LongestSocketPath
                ? new UnixDomainSocketEndPoint(path)
                : null;
        }

        var colon = text.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port)
            || port == 0)
            return null;
        var host = text[..colon];
        if (IPAddress.TryParse(host.AsSpan().Trim("[]"), out var ip))
            return new IPEndPoint(ip, port);
        return Uri.CheckHostName(host) == UriHostNameType.Dns ? new DnsEndPoint(host, port) : null;
    }

    private string? Set(string setting)
    {
        var equals = setting.IndexOf('=');
        var name = equals < 0 ? "" : setting[..equals].Trim();
        var value = setting[(equals + 1)..];
        switch (name)
        {
            case "user":
                User = value;
                return null;
            case "password":
                _password = value;
                return null;
            case "sentinel" when value.Length > 0:
                _masterName = value;
                return null;
            case "sentinelpassword":
                _sentinelPassword = value;
                return null;
            case "db" when int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number):
                Database = number;
                return null;
            case "db":
                return $"db={value} is not a number";
            default:
                return "only user=, password=, db=N, sentinel=NAME and sentinelpassword= may follow the address; a password cannot "
                    + "contain a comma";
        }
    }
}
