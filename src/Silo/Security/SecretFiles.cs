using System.Text;
using KvCache.Engine.Security;
using KvCache.Silo.Options;

namespace KvCache.Silo.Security;

/// <summary>Files with secrets: one, or two while one is exchanged for the other, a line each. All of them are accepted; the first is the
/// one's own.</summary>
internal static class SecretFiles
{
    private const int MostSecrets = 2;

    /// <summary>Reads a file of secrets, and follows it.</summary>
    /// <param name="name">The setting, for messages.</param>
    /// <param name="file">The file.</param>
    /// <param name="keep">What is kept of a secret; null for itself.</param>
    /// <param name="check">What else is wrong with what is kept, in a sentence; null when nothing is.</param>
    /// <exception cref="FormatException">It cannot be used; the message is one sentence and no secret.</exception>
    public static LiveFile<IReadOnlyList<byte[]>> Load(
        string name, string file, Func<byte[], byte[]>? keep = null, Func<IReadOnlyList<byte[]>, string?>? check = null) =>
        new(name, [file], contents =>
    {
        byte[][] secrets =
            [.. Encoding.UTF8.GetString(contents[0]).Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0)
            .Select(Encoding.UTF8.GetBytes)];
        if (secrets.Length is 0 or > MostSecrets)
            throw new FormatException(
                $"{name}: '{file}' has {secrets.Length} lines with a secret; one was expected, or two while it is exchanged.");
        if (Array.Exists(secrets, secret => secret.Length < TenantOptions.MinSecretBytes))
            throw new FormatException(
                $"{name}: a secret in '{file}' is too short; at least {TenantOptions.MinSecretBytes} bytes were expected.");
        if (keep is not null)
            secrets = Array.ConvertAll(secrets, secret => keep(secret));
        return check?.Invoke(secrets) is { } problem ? throw new FormatException($"{name}: {problem}") : secrets;
    });
}
