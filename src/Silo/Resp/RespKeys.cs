using System.Security.Cryptography;

namespace KvCache.Silo.Resp;

/// <summary>Block names of Redis keys.</summary>
internal static class RespKeys
{
    // Groups of engine keys that no engine uses: "RESP" as a number, and the next one for keys that are too long to be hashed as they are.
    private const int Group = 0x52455350, LongGroup = Group + 1;

    /// <summary>Name of a key, which is not empty.</summary>
    public static BlockHash Hash(ReadOnlySpan<byte> key)
    {
        if (key.Length <= PrefixHasher.MaxEngineKeyBytes)
            return PrefixHasher.HashEngineKey(key, Group);
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(key, hash);
        return PrefixHasher.HashEngineKey(hash, LongGroup);
    }
}
