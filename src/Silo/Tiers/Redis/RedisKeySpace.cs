using System.Text;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>
/// Names in Redis: <c>{prefix}:{namespace}/{hash}</c> of payloads and <c>{prefix}:descriptor:{namespace}/{hash}</c> of descriptors, in
/// lower-case hexadecimal.
/// </summary>
internal sealed class RedisKeySpace
{
    private const int NameBytes = (NamespaceId.Size * 2) + 1 + (BlockHash.Size * 2);

    private readonly byte[] _prefix;
    private readonly byte[] _descriptorPrefix;

    public RedisKeySpace(string prefix)
    {
        _prefix = Encoding.UTF8.GetBytes(prefix + ":");
        _descriptorPrefix = Encoding.UTF8.GetBytes(prefix + ":descriptor:");
        Pattern = Encoding.UTF8.GetBytes($"{Escape(prefix)}:{new string('?', NamespaceId.Size * 2)}/{new string('?', BlockHash.Size * 2)}");
    }

    /// <summary>Bytes of every payload's key.</summary>
    public int KeyBytes => _prefix.Length + NameBytes;

    /// <summary>Bytes of every descriptor's key.</summary>
    public int DescriptorKeyBytes => _descriptorPrefix.Length + NameBytes;

    /// <summary>Glob that matches the keys of payloads.</summary>
    public byte[] Pattern { get; }

    /// <summary>Writes the key of a payload.</summary>
    /// <param name="key">The block.</param>
    /// <param name="destination"><see cref="KeyBytes"/> bytes.</param>
    public void Write(BlockKey key, Span<byte> destination) => Write(_prefix, key, destination);

    /// <summary>Writes the key of a descriptor.</summary>
    /// <param name="key">The block.</param>
    /// <param name="destination"><see cref="DescriptorKeyBytes"/> bytes.</param>
    public void WriteDescriptor(BlockKey key, Span<byte> destination) => Write(_descriptorPrefix, key, destination);

    /// <summary>Parses a key; false for keys of others.</summary>
    public bool TryParse(ReadOnlySpan<byte> text, out BlockKey key)
    {
        key = default;
        if (text.Length != KeyBytes || !text.StartsWith(_prefix))
            return false;
        Span<char> name = stackalloc char[NameBytes];
        Encoding.Latin1.GetChars(text[_prefix.Length..], name);
        if (name[NamespaceId.Size * 2] != '/' || !NamespaceId.TryParse(name[..(NamespaceId.Size * 2)], out var id)
            || !BlockHash.TryParse(name[((NamespaceId.Size * 2) + 1)..], out var hash))
            return false;
        key = new BlockKey(id, hash);
        return true;
    }

    private static void Write(ReadOnlySpan<byte> prefix, BlockKey key, Span<byte> destination)
    {
        Span<byte> id = stackalloc byte[NamespaceId.Size];
        key.Namespace.CopyTo(id);
        prefix.CopyTo(destination);
        var name = destination[prefix.Length..];
        Convert.TryToHexStringLower(id, name, out _);
        name[id.Length * 2] = (byte)'/';
        var hash = key.Hash;
        Convert.TryToHexStringLower(BlockHash.BytesOf(in hash), name[((id.Length * 2) + 1)..], out _);
    }

    private static string Escape(string prefix)
    {
        var escaped = new StringBuilder();
        foreach (var c in prefix)
        {
            if (c is '*' or '?' or '[' or ']' or '^' or '\\')
                escaped.Append('\\');
            escaped.Append(c);
        }

        return escaped.ToString();
    }
}
