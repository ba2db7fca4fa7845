using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KvCache.Checksums;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Tiers.Payloads;

/// <summary>What a payload says about itself.</summary>
/// <param name="Key">The block.</param>
/// <param name="Generation">The write that produced the bytes.</param>
/// <param name="Layout">Shape of the block.</param>
/// <param name="Lineage">Where it stands in its prefix.</param>
/// <param name="Copies">How many silos should keep it; 0 when nobody asked for a number.</param>
/// <param name="ExpiresAt">End of its life in Unix milliseconds; 0 when the block has none.</param>
internal readonly record struct PayloadHeader(
    BlockKey Key, ulong Generation, KvLayout Layout, BlockLineage Lineage, byte Copies, long ExpiresAt)
{
    /// <summary>
    /// What is left of the block's life. Redis tells it by a clock that is the same for all silos; the payload names a time of its
    /// writer's. Only the latter can be sealed: where it is, nobody who sets lives in Redis makes one longer, and a clock that is ahead of
    /// the writer's makes it shorter.
    /// </summary>
    /// <param name="byRedis">What is left of the life of its key in Redis; null when that has no end.</param>
    /// <param name="now">The time.</param>
    /// <param name="isSealed">Whether the payload is sealed.</param>
    /// <returns>Null when the life has no end; nothing or less when it is over.</returns>
    public TimeSpan? Left(TimeSpan? byRedis, DateTimeOffset now, bool isSealed)
    {
        if (ExpiresAt == 0)
            return null;
        var told = TimeSpan.FromMilliseconds(Math.Min(ExpiresAt - now.ToUnixTimeMilliseconds(), RedisTier.LongestLife));
        return byRedis is { } left && (!isSealed || left < told) ? left : told;
    }
}

/// <summary>How a payload is sealed.</summary>
/// <param name="Key">The key; null for not at all.</param>
/// <param name="Encrypts">Whether its bytes are encrypted too.</param>
internal readonly record struct PayloadSealing(PayloadKey? Key, bool Encrypts);

/// <summary>
/// Layout of a payload in Redis: fixed fields, the CRC-32 of every layer, the encoding of the block's layout, tagged fields, a MAC and the
/// CRC-32 of all that, and the bytes of the block. Numbers are little-endian. The head names the block, so that a value under a foreign key
/// is noticed.
/// </summary>
/// <remarks>
/// <para>
/// The end of the block's life has a CRC-32 and a MAC of its own and is left out of the head's: it is the one thing that may change, and is
/// then written over in place, without anybody reading or computing the rest.
/// </para>
/// <para>
/// A later version says more in tagged fields, as on the wire (<see cref="WireFields"/>): silos of both versions read each other's payloads
/// while they are replaced one after the other. Where it changes what the rest means, it says so with the oldest version that can read it.
/// </para>
/// <para>
/// A sealed payload names its key by an id, and has random bytes, from which the key of its body is derived (<see cref="PayloadSeal"/>):
/// the MAC of the head, which covers them, vouches for the body too.
/// </para>
/// </remarks>
internal static class PayloadFormat
{
    /// <summary>Bytes before the checksums of the layers.</summary>
    public const int FixedBytes = FieldBytesOffset + sizeof(uint);

    /// <summary>Where the number of bytes of tagged fields stands.</summary>
    public const int FieldBytesOffset = SealOffset + SealBytes;

    /// <summary>Most bytes of tagged fields.</summary>
    public const int MaxFieldBytes = 64 * 1024;

    /// <summary>Where the end of the block's life stands.</summary>
    public const int LifeOffset = 124;

    /// <summary>Bytes of the end of a life, its checksum, the id of its key and its MAC included.</summary>
    public const int LifeBytes = LifeMacOffset + PayloadKey.MacBytes;

    // Id of the key, flags and salt.
    private const int SealOffset = LifeOffset + LifeBytes;
    private const int SaltBytes = 16;
    private const int SealBytes = (2 * sizeof(uint)) + SaltBytes;
    private const uint EncryptedFlag = 1;

    private const int LifeMacOffset = sizeof(long) + (2 * sizeof(uint));
    private const int TailBytes = PayloadKey.MacBytes + sizeof(uint);

    /// <summary>Bytes of the marks of this format: magic, and the oldest version that can read the payload. The version that wrote it
    /// follows.</summary>
    public const int MarkBytes = sizeof(uint) + sizeof(ushort);

    /// <summary>Longest string that Redis takes (its <c>proto-max-bulk-len</c>).</summary>
    public const long MaxValueBytes = 512L << 20;

    private const int NameOffset = 16, NameBytes = NamespaceId.Size + BlockHash.Size;

    private const uint Magic = 0x4C42564B; // "KVBL"
    private const ushort Version = 4, OldestReader = 4;

    private static ReadOnlySpan<byte> HeadLabel => "kvcache.payload.v4"u8;

    private static ReadOnlySpan<byte> LifeLabel => "kvcache.life.v4"u8;

    /// <summary>Bytes before a block of this layout.</summary>
    public static int HeadBytes(KvLayout layout) => HeadBytes(layout.Layers, layout.EncodedBytes, fields: 0);

    /// <summary>Writes everything that comes before the block.</summary>
    /// <param name="head"><see cref="HeadBytes(KvLayout)"/> bytes.</param>
    /// <param name="header">What to say.</param>
    /// <param name="checksums">CRC-32 of every layer.</param>
    /// <param name="layout">The canonical encoding of the header's layout.</param>
    /// <param name="sealing">How the payload is sealed.</param>
    public static void Write(
        Span<byte> head, in PayloadHeader header, ReadOnlySpan<uint> checksums, ReadOnlySpan<byte> layout, PayloadSealing sealing)
    {
        WriteMarks(head);
        BinaryPrimitives.WriteUInt16LittleEndian(head[MarkBytes..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(head[8..], checksums.Length);
        BinaryPrimitives.WriteInt32LittleEndian(head[12..], layout.Length);
        header.Key.Namespace.CopyTo(head[16..]);
        header.Key.Hash.CopyTo(head[32..]);
        BinaryPrimitives.WriteUInt64LittleEndian(head[64..], header.Generation);
        header.Lineage.Parent.CopyTo(head[72..]);
        BinaryPrimitives.WriteInt32LittleEndian(head[104..], header.Lineage.Depth);
        BinaryPrimitives.WriteInt32LittleEndian(head[108..], header.Lineage.SuffixTokens);
        BinaryPrimitives.WriteUInt64LittleEndian(head[112..], header.Lineage.RequestId);
        BinaryPrimitives.WriteInt32LittleEndian(head[120..], header.Copies);
        WriteLife(head.Slice(LifeOffset, LifeBytes), header.Key, header.ExpiresAt, sealing.Key);
        var seal = head.Slice(SealOffset, SealBytes);
        seal.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(seal, sealing.Key?.Id ?? 0);
        BinaryPrimitives.WriteUInt32LittleEndian(seal[sizeof(uint)..], sealing.Encrypts ? EncryptedFlag : 0);
        if (sealing.Key is not null)
            RandomNumberGenerator.Fill(seal[^SaltBytes..]);
        BinaryPrimitives.WriteUInt32LittleEndian(head[FieldBytesOffset..], 0); // there is nothing to say more yet
        MemoryMarshal.AsBytes(checksums).CopyTo(head[FixedBytes..]);
        layout.CopyTo(head[(FixedBytes + (checksums.Length * sizeof(uint)))..]);
        var mac = head[^TailBytes..^sizeof(uint)];
        mac.Clear();
        sealing.Key?.Sign(HeadLabel, head[..LifeOffset], head[SealOffset..^TailBytes], mac);
        BinaryPrimitives.WriteUInt32LittleEndian(head[^sizeof(uint)..], ChecksumOf(head));
    }

    /// <summary>What seals the body of a payload whose head was written or read.</summary>
    public static PayloadSeal SealOf(ReadOnlySpan<byte> head, PayloadKey key) => new(
        key, head.Slice(SealOffset + SealBytes - SaltBytes, SaltBytes),
            (BinaryPrimitives.ReadUInt32LittleEndian(head[(SealOffset + sizeof(uint))..]) & EncryptedFlag) != 0);

    /// <summary>Writes what every payload begins with that this version reads, <see cref="MarkBytes"/> bytes.</summary>
    public static void WriteMarks(Span<byte> head)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(head, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(head[sizeof(uint)..], OldestReader);
    }

    /// <summary>Writes the end of a block's life.</summary>
    /// <param name="life"><see cref="LifeBytes"/> bytes, which stand at <see cref="LifeOffset"/> of a payload.</param>
    /// <param name="block">The block.</param>
    /// <param name="expiresAt">Unix milliseconds; 0 for none.</param>
    /// <param name="key">Seals it; null for nobody. It may be another one than the payload's.</param>
    public static void WriteLife(Span<byte> life, BlockKey block, long expiresAt, PayloadKey? key)
    {
        life[..LifeBytes].Clear();
        BinaryPrimitives.WriteInt64LittleEndian(life, expiresAt);
        BinaryPrimitives.WriteUInt32LittleEndian(life[sizeof(long)..], BlockChecksum.Compute(life[..sizeof(long)]));
        BinaryPrimitives.WriteUInt32LittleEndian(life[(sizeof(long) + sizeof(uint))..], key?.Id ?? 0);
        key?.Sign(LifeLabel, NameOf(block, stackalloc byte[NameBytes]), life[..sizeof(long)], life[LifeMacOffset..LifeBytes]);
    }

    /// <summary>Looks for the marks of the format, and for how long the head is.</summary>
    /// <param name="fixedPart">The first <see cref="FixedBytes"/> bytes. Nothing has vouched for them yet.</param>
    /// <param name="headBytes">Bytes before the block, within bounds.</param>
    /// <returns><see cref="PromoteOutcome.Promoted"/>, or what is wrong with it.</returns>
    public static PromoteOutcome ReadLength(ReadOnlySpan<byte> fixedPart, out int headBytes)
    {
        headBytes = 0;
        if (BinaryPrimitives.ReadUInt32LittleEndian(fixedPart) != Magic)
            return PromoteOutcome.Malformed;
        if (BinaryPrimitives.ReadUInt16LittleEndian(fixedPart[4..]) > Version
            || BinaryPrimitives.ReadUInt16LittleEndian(fixedPart[MarkBytes..]) < OldestReader)
            return PromoteOutcome.OtherVersion;
        var layers = BinaryPrimitives.ReadInt32LittleEndian(fixedPart[8..]);
        var layout = BinaryPrimitives.ReadInt32LittleEndian(fixedPart[12..]);
        var fields = BinaryPrimitives.ReadUInt32LittleEndian(fixedPart[FieldBytesOffset..]);
        if (layers is <= 0 or > KvLayout.MaxLayers || layout is <= 0 or > KvLayout.MaxEncodedBytes || fields > MaxFieldBytes)
            return PromoteOutcome.Malformed;
        headBytes = HeadBytes(layers, layout, (int)fields);
        return PromoteOutcome.Promoted;
    }

    /// <summary>Reads a head whose length is that of <see cref="ReadLength"/>.</summary>
    /// <param name="head">The head.</param>
    /// <param name="layouts">Reads the layout.</param>
    /// <param name="header">What it says.</param>
    /// <param name="keys">Keys that payloads have to be sealed with; null where they are not sealed.</param>
    /// <param name="key">The key of the payload's body; null for a body that is not sealed.</param>
    /// <returns><see cref="PromoteOutcome.Promoted"/>, or what is wrong with it.</returns>
    public static PromoteOutcome Read(
        ReadOnlySpan<byte> head, LayoutMemo layouts, PayloadKeys? keys, out PayloadHeader header, out PayloadKey? key)
    {
        header = default;
        key = null;
        var life = head.Slice(LifeOffset, LifeBytes);
        if (BinaryPrimitives.ReadUInt32LittleEndian(head[^sizeof(uint)..]) != ChecksumOf(head)
            || BinaryPrimitives.ReadUInt32LittleEndian(life[sizeof(long)..]) != BlockChecksum.Compute(life[..sizeof(long)]))
            return PromoteOutcome.Corrupt;
        if (CheckSeal(head, keys, out key) is var outcome and not PromoteOutcome.Promoted)
            return outcome;
        var checksums = BinaryPrimitives.ReadInt32LittleEndian(head[8..]);
        var rest = head[(FixedBytes + (checksums * sizeof(uint)))..^TailBytes];
        var fields = rest[^(int)BinaryPrimitives.ReadUInt32LittleEndian(head[FieldBytesOffset..])..];
        if (FindUnknown(fields) is var unknown and not PromoteOutcome.Promoted)
            return unknown;
        var layout = layouts.Read(rest[..^fields.Length]);
        var lineage = new BlockLineage(
            new BlockHash(head[72..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[104..]),
            BinaryPrimitives.ReadUInt64LittleEndian(head[112..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[108..]));
        var copies = BinaryPrimitives.ReadUInt32LittleEndian(head[120..]);
        var expiresAt = BinaryPrimitives.ReadInt64LittleEndian(life);
        if (layout is null || layout.Layers != checksums || lineage.Depth < 0 || lineage.SuffixTokens < 0 || copies > byte.MaxValue
            || expiresAt < 0)
            return PromoteOutcome.Malformed;
        header = new PayloadHeader(
            new BlockKey(NamespaceId.Read(head[16..]), new BlockHash(head[32..])),
            BinaryPrimitives.ReadUInt64LittleEndian(head[64..]),
            layout,
            lineage,
            (byte)copies,
            expiresAt);
        return PromoteOutcome.Promoted;
    }

    /// <summary>The checksums of the layers inside a head that was read.</summary>
    public static ReadOnlySpan<uint> Checksums(ReadOnlySpan<byte> head) =>
        MemoryMarshal.Cast<byte, uint>(head.Slice(FixedBytes, BinaryPrimitives.ReadInt32LittleEndian(head[8..]) * sizeof(uint)));

    private static PromoteOutcome FindUnknown(ReadOnlySpan<byte> fields)
    {
        try
        {
            return WireFields.FirstUnknown(fields) == 0 ? PromoteOutcome.Promoted : PromoteOutcome.OtherVersion;
        }
        catch (KvFormatException)
        {
            return PromoteOutcome.Malformed;
        }
    }

    private static PromoteOutcome CheckSeal(ReadOnlySpan<byte> head, PayloadKeys? keys, out PayloadKey? key)
    {
        key = null;
        var id = BinaryPrimitives.ReadUInt32LittleEndian(head[SealOffset..]);
        var life = head.Slice(LifeOffset, LifeBytes);
        var lifeId = BinaryPrimitives.ReadUInt32LittleEndian(life[(sizeof(long) + sizeof(uint))..]);
        if (keys is null)
            return id == 0 ? PromoteOutcome.Promoted : PromoteOutcome.OtherKey;
        if (keys.Find(id) is not { } found || keys.Find(lifeId) is not { } lifeKey)
            return PromoteOutcome.OtherKey;
        key = found;
        return found.Accepts(HeadLabel, head[..LifeOffset], head[SealOffset..^TailBytes], head[^TailBytes..^sizeof(uint)])
            && lifeKey.Accepts(LifeLabel, head.Slice(NameOffset, NameBytes), life[..sizeof(long)], life[LifeMacOffset..])
            ? PromoteOutcome.Promoted
            : PromoteOutcome.Forged;
    }

    // As it stands in the head.
    private static Span<byte> NameOf(BlockKey block, Span<byte> name)
    {
        block.Namespace.CopyTo(name);
        block.Hash.CopyTo(name[NamespaceId.Size..]);
        return name;
    }

    private static int HeadBytes(int layers, int layoutBytes, int fields) =>
        FixedBytes + (layers * sizeof(uint)) + layoutBytes + fields + TailBytes;

    private static uint ChecksumOf(ReadOnlySpan<byte> head) =>
        BlockChecksum.Append(BlockChecksum.Compute(head[..LifeOffset]), head[SealOffset..^sizeof(uint)]);
}
