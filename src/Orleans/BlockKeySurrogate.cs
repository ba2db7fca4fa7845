namespace KvCache.Orleans;

/// <summary>Wire form of a <see cref="BlockKey"/> in grain calls; Core knows nothing of Orleans.</summary>
[GenerateSerializer, Immutable, Alias("KvCache.BlockKey")]
public struct BlockKeySurrogate
{
    /// <summary>16 bytes of namespace and 32 bytes of hash.</summary>
    [Id(0)]
    public byte[] Bytes { get; set; }
}

/// <summary>Converts keys.</summary>
[RegisterConverter]
public sealed class BlockKeyConverter : IConverter<BlockKey, BlockKeySurrogate>
{
    /// <inheritdoc/>
    public BlockKey ConvertFromSurrogate(in BlockKeySurrogate surrogate) =>
        new(NamespaceId.Read(surrogate.Bytes), new BlockHash(surrogate.Bytes.AsSpan(NamespaceId.Size)));

    /// <inheritdoc/>
    public BlockKeySurrogate ConvertToSurrogate(in BlockKey value)
    {
        var bytes = new byte[NamespaceId.Size + BlockHash.Size];
        value.Namespace.CopyTo(bytes);
        value.Hash.CopyTo(bytes.AsSpan(NamespaceId.Size));
        return new BlockKeySurrogate { Bytes = bytes };
    }
}
