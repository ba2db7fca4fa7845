using System.Security.Cryptography;
using System.Text;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Security;

/// <summary>Secrets by which the silos of a cluster know one another; a silo alone has a random one, which nobody else can know.</summary>
internal sealed class ClusterSecrets(IOptions<ClusterOptions> options)
{
    /// <summary>The secrets that are valid, this silo's own first: while secrets are exchanged there are two.</summary>
    public IReadOnlyList<byte[]> All { get; } = options.Value switch
    {
        { Mode: ClusterMode.None } => [RandomNumberGenerator.GetBytes(32)],
        { OtherSecret.Length: > 0 } two => [Encoding.UTF8.GetBytes(two.Secret), Encoding.UTF8.GetBytes(two.OtherSecret)],
        var one => [Encoding.UTF8.GetBytes(one.Secret)],
    };

    /// <summary>The secret that this silo proves and signs with.</summary>
    public byte[] Own => All[0];
}
