using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace KvCache.Hashing;

/// <summary>
/// 64-bit hash of a block key, over all of its bytes, by folded 64×64-bit multiplication, as in wyhash. Clients choose the bytes of keys,
/// so the multiplicands carry secrets of this process: nobody outside can choose shard or slot.
/// </summary>
internal static class KeyHash
{
    private static readonly ulong SecretA = Secret(), SecretB = Secret(), SecretC = Secret(), SecretD = Secret();

    /// <summary>The part of the hash that all keys of a namespace share.</summary>
    public static ulong Start(NamespaceId ns) => Fold(ns.Tenant.Value ^ SecretA, ns.Fields ^ SecretB);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(ulong start, ref readonly BlockHash hash)
    {
        ref var words = ref Unsafe.As<BlockHash, ulong>(ref Unsafe.AsRef(in hash));
        var first = Fold(words ^ SecretC, Unsafe.Add(ref words, 1) ^ start);
        return Fold(Unsafe.Add(ref words, 2) ^ SecretD, Unsafe.Add(ref words, 3) ^ first);
    }

    /// <summary>Hash of a block's name alone.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(ref readonly BlockHash hash) => Of(SecretB, in hash);

    public static ulong Of(ref readonly BlockKey key)
    {
        var hash = key.Hash;
        return Of(Start(key.Namespace), in hash);
    }

    /// <summary>
    /// A hash that is the same in all processes, and never 0: what eviction policies know a block by. Who finds two keys of one fingerprint
    /// spoils guesses of when these are used again, and nothing else.
    /// </summary>
    public static ulong Fingerprint(ref readonly BlockKey key)
    {
        var hash = key.Hash;
        ref var words = ref Unsafe.As<BlockHash, ulong>(ref hash);
        var start = Fold(key.Namespace.Tenant.Value ^ 0x9E3779B97F4A7C15, key.Namespace.Fields ^ 0xD6E8FEB86659FD93);
        var first = Fold(words ^ 0xA0761D6478BD642F, Unsafe.Add(ref words, 1) ^ start);
        return Fold(Unsafe.Add(ref words, 2) ^ 0xE7037ED1A0B428DB, Unsafe.Add(ref words, 3) ^ first) | 1UL << 63;
    }

    private static ulong Fold(ulong left, ulong right)
    {
        var high = Math.BigMul(left, right, out var low);
        return high ^ low;
    }

    private static ulong Secret() => MemoryMarshal.Read<ulong>(RandomNumberGenerator.GetBytes(sizeof(ulong)));
}
