using System.Security.Cryptography;

namespace KvCache.Silo.Security;

/// <summary>Secrets, or their digests, of which several are valid at a time.</summary>
internal static class KnownBytes
{
    /// <summary>Whether one of them is equal to what was given; the time tells nothing of which byte differs.</summary>
    public static bool Knows(this IReadOnlyList<byte[]> known, byte[] given)
    {
        foreach (var one in known)
        {
            if (CryptographicOperations.FixedTimeEquals(one, given))
                return true;
        }

        return false;
    }
}
