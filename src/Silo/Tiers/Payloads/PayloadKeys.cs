using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Security;

namespace KvCache.Silo.Tiers.Payloads;

/// <summary>Keys that payloads in Redis are sealed with: the first writes, all of them read.</summary>
internal sealed class PayloadKeys
{
    private const int KeyBytes = 32;

    private readonly PayloadKey[] _keys;

    private PayloadKeys(PayloadKey[] keys) => _keys = keys;

    /// <summary>The key that new payloads get.</summary>
    public PayloadKey Writing => _keys[0];

    /// <summary>A key by its id; null when it is not there (any more, or yet).</summary>
    public PayloadKey? Find(uint id) => Array.Find(_keys, key => key.Id == id);

    /// <summary>Reads a file of lines <c>ID KEY</c>: a number from 1 on, and 32 bytes as Base64. Lines that begin with # say
    /// nothing.</summary>
    /// <param name="name">The setting, for messages.</param>
    /// <param name="file">The file.</param>
    /// <exception cref="FormatException">It cannot be used; the message is one sentence and no key.</exception>
    public static LiveFile<PayloadKeys> Load(string name, string file) => new(name, [file], contents =>
    {
        var keys = new List<PayloadKey>();
        foreach (var line in Encoding.UTF8.GetString(contents[0]).Split('\n').Select(text => text.Trim())
            .Where(text => text.Length > 0 && text[0] != '#'))
            keys.Add(Parse(name, file, line, keys.Count + 1));
        if (keys.Count == 0)
            throw new FormatException($"{name}: '{file}' has no key; a line 'ID KEY' was expected, with a number and 32 bytes as Base64.");
        if (keys.GroupBy(key => key.Id).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new FormatException($"{name}: '{file}' has the id {twice.Key} more than once.");
        return new PayloadKeys([.. keys]);
    });

    private static PayloadKey Parse(string name, string file, string line, int number)
    {
        var words = line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        var key = new byte[KeyBytes];
        return words.Length == 2 && uint.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id) && id > 0
            && Convert.TryFromBase64String(words[1], key, out var bytes) && bytes == KeyBytes
            ? new PayloadKey(id, key)
            : throw new FormatException(
                $"{name}: key {number} in '{file}' is not 'ID KEY'; a number from 1 on and {KeyBytes} bytes as Base64 were expected.");
    }
}

/// <summary>One key. What it is used for has a key of its own, derived by HKDF (RFC 5869).</summary>
internal sealed class PayloadKey(uint id, byte[] secret)
{
    /// <summary>Bytes of a MAC.</summary>
    public const int MacBytes = 16;

    private const int DerivedBytes = 32;

    private readonly byte[] _mac = HKDF.DeriveKey(HashAlgorithmName.SHA256, secret, DerivedBytes, info: "kvcache.redis.mac"u8.ToArray());
    private readonly byte[] _data = HKDF.DeriveKey(HashAlgorithmName.SHA256, secret, DerivedBytes, info: "kvcache.redis.data"u8.ToArray());

    /// <summary>Number by which payloads name it.</summary>
    public uint Id => id;

    /// <summary>HMAC-SHA-256 over a label and some bytes, the first half of it.</summary>
    /// <param name="label">What is authenticated, so that one thing is never taken for another.</param>
    /// <param name="first">Bytes.</param>
    /// <param name="second">More bytes; the caller sees to it that their border is in them.</param>
    /// <param name="mac">Receives <see cref="MacBytes"/> bytes.</param>
    public void Sign(ReadOnlySpan<byte> label, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, Span<byte> mac)
    {
        Span<byte> whole = stackalloc byte[HMACSHA256.HashSizeInBytes];
        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _mac);
        hash.AppendData(label);
        hash.AppendData(first);
        hash.AppendData(second);
        hash.GetHashAndReset(whole);
        whole[..MacBytes].CopyTo(mac);
    }

    /// <summary>Whether a MAC is that of some bytes.</summary>
    public bool Accepts(ReadOnlySpan<byte> label, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> mac)
    {
        Span<byte> right = stackalloc byte[MacBytes];
        Sign(label, first, second, right);
        return CryptographicOperations.FixedTimeEquals(right, mac);
    }

    /// <summary>The cipher of one payload: its key is used for that payload alone, so that the numbers of its segments are its
    /// nonces.</summary>
    /// <param name="salt">Random bytes of the payload.</param>
    public AesGcm CipherOf(ReadOnlySpan<byte> salt)
    {
        Span<byte> key = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(_data, salt, key);
        return new AesGcm(key, MacBytes);
    }
}
