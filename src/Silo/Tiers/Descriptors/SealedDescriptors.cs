using System.Buffers.Binary;
using KvCache.Engine.Security;
using KvCache.Silo.Tiers.Payloads;
using Orleans.Storage;

namespace KvCache.Silo.Tiers.Descriptors;

/// <summary>
/// Seals descriptors in Redis as payloads are: behind their bytes come the id of the key and a MAC over the block's name and those bytes.
/// What does not pass is
/// an empty descriptor, as a damaged one is.
/// </summary>
/// <remarks>The provider tells its serializer no names; <see cref="RedisDescriptorStorage"/> does.</remarks>
internal sealed class SealedDescriptors(IGrainStorageSerializer inner, LiveFile<PayloadKeys> keys, RedisTierCounters counters)
    : IGrainStorageSerializer
{
    private const int NameBytes = NamespaceId.Size + BlockHash.Size;
    private const int TailBytes = sizeof(uint) + PayloadKey.MacBytes;

    private static readonly AsyncLocal<BlockKey> Block = new();

    private static ReadOnlySpan<byte> Label => "kvcache.descriptor.v3"u8;

    /// <summary>Says which block the calls that follow are about, in this flow of execution.</summary>
    public static void Name(BlockKey block) => Block.Value = block;

    public BinaryData Serialize<T>(T? input)
    {
        var bytes = inner.Serialize(input).ToMemory().Span;
        var key = keys.Fresh().Writing;
        var whole = new byte[bytes.Length + TailBytes];
        bytes.CopyTo(whole);
        BinaryPrimitives.WriteUInt32LittleEndian(whole.AsSpan(bytes.Length), key.Id);
        key.Sign(Label, NameOf(Block.Value, stackalloc byte[NameBytes]), bytes, whole.AsSpan(bytes.Length + sizeof(uint)));
        return BinaryData.FromBytes(whole);
    }

    public T? Deserialize<T>(BinaryData input)
    {
        var whole = input.ToMemory();
        var bytes = whole[..Math.Max(0, whole.Length - TailBytes)];
        if (Check(whole.Span, bytes.Span) is var outcome and not PromoteOutcome.Promoted)
        {
            counters.Promote(outcome);
            bytes = ReadOnlyMemory<byte>.Empty;
        }

        return inner.Deserialize<T>(BinaryData.FromBytes(bytes));
    }

    private PromoteOutcome Check(ReadOnlySpan<byte> whole, ReadOnlySpan<byte> bytes)
    {
        if (whole.Length < TailBytes || keys.Fresh().Find(BinaryPrimitives.ReadUInt32LittleEndian(whole[bytes.Length..])) is not { } key)
            return PromoteOutcome.OtherKey;
        return key.Accepts(Label, NameOf(Block.Value, stackalloc byte[NameBytes]), bytes, whole[(bytes.Length + sizeof(uint))..])
            ? PromoteOutcome.Promoted
            : PromoteOutcome.Forged;
    }

    private static Span<byte> NameOf(BlockKey block, Span<byte> name)
    {
        block.Namespace.CopyTo(name);
        block.Hash.CopyTo(name[NamespaceId.Size..]);
        return name;
    }
}
