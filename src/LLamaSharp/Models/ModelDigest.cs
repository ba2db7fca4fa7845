using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;

namespace KvCache.LLamaSharp.Models;

/// <summary>SHA-256 of a GGUF, all parts of a split one. Reading it takes about a second for each gigabyte, once in a process.</summary>
internal static partial class ModelDigest
{
    private const int BufferBytes = 1 << 20;

    private static readonly ConcurrentDictionary<string, string> Known = new(StringComparer.Ordinal);

    /// <exception cref="IOException">It cannot be read.</exception>
    public static string Of(string path)
    {
        var parts = Parts(path);
        var name = string.Join(
            '|', parts.Select(part => FormattableString.Invariant($"{part.FullName}:{part.Length}:{part.LastWriteTimeUtc.Ticks}")));
        return Known.GetOrAdd(name, _ => Compute(parts));
    }

    /// <summary>The files of a model: itself, or <c>NAME-00001-of-00003.gguf</c> and so on.</summary>
    internal static IReadOnlyList<FileInfo> Parts(string path)
    {
        var match = Split().Match(path);
        if (!match.Success)
            return [Existing(path)];
        var count = int.Parse(match.Groups["count"].ValueSpan, CultureInfo.InvariantCulture);
        return [.. Enumerable.Range(1, count).Select(i =>
            Existing(string.Create(CultureInfo.InvariantCulture, $"{match.Groups["name"]}-{i:00000}-of-{count:00000}.gguf")))];
    }

    private static FileInfo Existing(string path) =>
        new FileInfo(path) is { Exists: true } file ? file : throw new FileNotFoundException($"There is no model at {path}.", path);

    private static string Compute(IEnumerable<FileInfo> parts)
    {
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[BufferBytes];
        foreach (var part in parts)
        {
            using var handle = File.OpenHandle(part.FullName, options: FileOptions.SequentialScan);
            for (var at = 0L; RandomAccess.Read(handle, buffer, at) is > 0 and var read; at += read)
                sha.AppendData(buffer, 0, read);
        }

        return Convert.ToHexStringLower(sha.GetHashAndReset());
    }

    [GeneratedRegex(@"^(?<name>.*)-\d{5}-of-(?<count>\d{5})\.gguf$", RegexOptions.ExplicitCapture)]
    private static partial Regex Split();
}
