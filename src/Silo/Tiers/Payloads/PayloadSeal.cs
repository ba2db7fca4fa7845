using System.Buffers.Binary;
using System.Security.Cryptography;

namespace KvCache.Silo.Tiers.Payloads;

/// <summary>
/// Seals the bytes of one payload, segment by segment: AES-256-GCM (NIST SP 800-38D), over bytes that stay readable or that are encrypted.
/// A tag follows each segment.
/// </summary>
/// <remarks>
/// Segments instead of a whole block: a tag is computed while its bytes are in the processor's cache, and nothing has to be kept until the
/// last byte is there.
/// The cipher's key belongs to one payload (<see cref="PayloadKey.CipherOf"/>), whose head names and counts its segments: none can be left
/// out, moved or taken elsewhere.
/// </remarks>
internal sealed class PayloadSeal(PayloadKey key, ReadOnlySpan<byte> salt, bool encrypts) : IDisposable
{
    /// <summary>Bytes of a segment, the last one excepted.</summary>
    public const int SegmentBytes = 256 * 1024;

    private readonly AesGcm _cipher = key.CipherOf(salt);

    /// <summary>Whether bytes are encrypted.</summary>
    public bool Encrypts => encrypts;

    /// <summary>Bytes of a block with its tags.</summary>
    public static long SealedBytes(int blockBytes) =>
        blockBytes + ((long)PayloadKey.MacBytes * ((blockBytes + SegmentBytes - 1) / SegmentBytes));

    /// <summary>Computes the tag of bytes that stay readable.</summary>
    public void Sign(int segment, ReadOnlySpan<byte> bytes, Span<byte> tag) =>
        _cipher.Encrypt(Nonce(segment, stackalloc byte[12]), [], [], tag, bytes);

    /// <summary>Encrypts bytes and computes their tag.</summary>
    public void Encrypt(int segment, ReadOnlySpan<byte> bytes, Span<byte> encrypted, Span<byte> tag) =>
        _cipher.Encrypt(Nonce(segment, stackalloc byte[12]), bytes, encrypted, tag);

    /// <summary>Checks bytes that have arrived, and decrypts them in place where they are encrypted.</summary>
    /// <returns>False when they are not those that were sealed; what is in them then means nothing.</returns>
    public bool Open(int segment, Span<byte> bytes, ReadOnlySpan<byte> tag)
    {
        try
        {
            if (encrypts)
                _cipher.Decrypt(Nonce(segment, stackalloc byte[12]), bytes, tag, bytes);
            else
                _cipher.Decrypt(Nonce(segment, stackalloc byte[12]), [], tag, [], bytes);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    public void Dispose() => _cipher.Dispose();

    private static Span<byte> Nonce(int segment, Span<byte> nonce)
    {
        nonce.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(nonce, segment);
        return nonce;
    }
}
