using System.Diagnostics.CodeAnalysis;
using KvCache.Hashing;

namespace KvCache;

/// <summary>Cluster-wide name of a block.</summary>
/// <param name="Namespace">Everything that makes KV of equal tokens interchangeable.</param>
/// <param name="Hash">The prefix, or the engine's key, inside the namespace.</param>
public readonly record struct BlockKey(NamespaceId Namespace, BlockHash Hash)
{
    /// <inheritdoc/>
    public override int GetHashCode() => (int)KeyHash.Of(in this);

    /// <summary>Key of the grain that has authority over the block: <c>{namespace}/{hash}</c>, both in lower-case hexadecimal.</summary>
    public string ToGrainKey() => $"{Namespace}/{Hash}";

    /// <summary>Parses <see cref="ToGrainKey"/>.</summary>
    public static bool TryParseGrainKey([NotNullWhen(true)] string? text, out BlockKey key)
    {
        key = default;
        if (text is not { Length: (NamespaceId.Size * 2) + 1 + (BlockHash.Size * 2) } || text[NamespaceId.Size * 2] != '/')
            return false;
        if (text.AsSpan().ContainsAnyInRange('A', 'F'))
            return false; // the same block would have two grains
        if (!NamespaceId.TryParse(text.AsSpan(0, NamespaceId.Size * 2), out var id)
            || !BlockHash.TryParse(text.AsSpan((NamespaceId.Size * 2) + 1), out var hash))
            return false;
        key = new BlockKey(id, hash);
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => ToGrainKey();
}
