using System.Text;

namespace KvCache.Silo;

/// <summary>Names of payloads in Redis: <c>{prefix}:{namespace}/{hash}</c>, both in lower-case hexadecimal.</summary>
internal sealed class RedisKeySpace
{
    private const int NameBytes = (NamespaceId.Size * 2) + 1 + (BlockHash.Size * 2);

    private readonly byte[] _prefix;

    public RedisKeySpace(string prefix)
    {
        _prefix = Encoding.UTF8.GetBytes(prefix + ":");
        Pattern = Encoding.UTF8.GetBytes(Escape(prefix) + ":*");
    }

    /// <summary>Bytes of every key.</summary>
    public int KeyBytes => _prefix.Length + NameBytes;

    /// <summary>Glob that matches every key of the prefix.</summary>
    public byte[] Pattern { get; }

    /// <summary>Writes the key of a block.</summary>
    /// <param name="key">The block.</param>
    /// <param name="destination"><see cref="KeyBytes"/> bytes.</param>
    public void Write(BlockKey key, Span<byte> destination)
    {
        Span<byte> id = stackalloc byte[NamespaceId.Size];
        key.Namespace.CopyTo(id);
        _prefix.CopyTo(destination);
        var name = destination[_prefix.Length..];
        Convert.TryToHexStringLower(id, name, out _);
        name[id.Length * 2] = (byte)'/';
        var hash = key.Hash;
        Convert.TryToHexStringLower(BlockHash.BytesOf(in hash), name[((id.Length * 2) + 1)..], out _);
    }

    /// <summary>Parses a key; false for keys of others.</summary>
    public bool TryParse(ReadOnlySpan<byte> text, out BlockKey key)
    {
        key = default;
        if (text.Length != KeyBytes || !text.StartsWith(_prefix))
            return false;
        Span<char> name = stackalloc char[NameBytes];
        Encoding.Latin1.GetChars(text[_prefix.Length..], name);
        if (name[NamespaceId.Size * 2] != '/' || !NamespaceId.TryParse(name[..(NamespaceId.Size * 2)], out var id) || !BlockHash.TryParse(name[((NamespaceId.Size * 2) + 1)..], out var hash))
            return false;
        key = new BlockKey(id, hash);
        return true;
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
