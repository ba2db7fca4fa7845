using System.Security.Cryptography;

namespace KvCache.InferenceNode.Loading;

/// <summary>Short names of what decides a model's KV.</summary>
internal static class Fingerprint
{
    /// <summary>
    /// First 16 hexadecimal digits of the SHA-256 of the files' contents, each preceded by its length. Reads every byte: a
    /// cheaper fingerprint would let a fine-tuned copy share KV with its origin.
    /// </summary>
    public static string OfFiles(IEnumerable<string> paths)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 20];
        foreach (var path in paths)
        {
            using var stream =
                new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.SequentialScan);
            hash.AppendData(BitConverter.GetBytes(stream.Length));
            for (var read = stream.Read(buffer); read > 0; read = stream.Read(buffer))
                hash.AppendData(buffer, 0, read);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 8));
    }
}
