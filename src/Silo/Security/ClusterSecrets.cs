using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Security;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Security;

/// <summary>Secrets by which the silos of a cluster know one another; a silo alone has a random one, which nobody else can know.</summary>
internal sealed class ClusterSecrets : ILiveFiles
{
    private readonly LiveFile<IReadOnlyList<byte[]>>? _file;
    private readonly IReadOnlyList<byte[]> _fixed;

    /// <exception cref="FormatException">The file of secrets cannot be used; the message is one sentence.</exception>
    public ClusterSecrets(IOptions<ClusterOptions> options)
    {
        var cluster = options.Value;
        if (cluster is { Mode: not ClusterMode.None, SecretFile.Length: > 0 })
            _file = SecretFiles.Load($"{ClusterOptions.Section}:SecretFile", cluster.SecretFile);
        _fixed = cluster switch
        {
            { Mode: ClusterMode.None } => [RandomNumberGenerator.GetBytes(32)],
            { OtherSecret.Length: > 0 } two => [Encoding.UTF8.GetBytes(two.Secret), Encoding.UTF8.GetBytes(two.OtherSecret)],
            var one => [Encoding.UTF8.GetBytes(one.Secret)],
        };
    }

    /// <summary>The secrets that are valid, this silo's own first: while secrets are exchanged there are two. Another object after a
    /// change.</summary>
    public IReadOnlyList<byte[]> All => _file?.Value ?? _fixed;

    /// <summary>The secret that this silo proves and signs with.</summary>
    public byte[] Own => All[0];

    /// <inheritdoc/>
    public IEnumerable<ILiveFile> Files => _file is null ? [] : [_file];
}
