namespace KvCache.Silo.Resp;

/// <summary>
/// Redis' patterns: <c>*</c>, <c>?</c>, <c>[abc]</c>, <c>[^a-z]</c>, and a backslash before what is meant literally. Works on bytes. The
/// time is at most the product of both lengths: a star is tried again only from the last one on.
/// </summary>
internal static class GlobPattern
{
    public static bool IsMatch(ReadOnlySpan<byte> pattern, ReadOnlySpan<byte> text)
    {
        int p = 0, t = 0, star = -1, from = 0;
        while (t < text.Length)
        {
            if (p < pattern.Length && pattern[p] == '*')
            {
                star = p++;
                from = t;
                continue;
            }

            if (p < pattern.Length && Matches(pattern[p..], text[t], out var used))
            {
                p += used;
                t++;
                continue;
            }

            if (star < 0)
                return false;
            p = star + 1;
            t = ++from;
        }

        return pattern[p..].TrimStart((byte)'*').IsEmpty;
    }

    // Whether the first element of a pattern matches a byte, and how long that element is.
    private static bool Matches(ReadOnlySpan<byte> pattern, byte value, out int used)
    {
        used = 1;
        switch (pattern[0])
        {
            case (byte)'?':
                return true;
            case (byte)'\\' when pattern.Length > 1:
                used = 2;
                return pattern[1] == value;
            case (byte)'[':
                return MatchesSet(pattern, value, out used);
            default:
                return pattern[0] == value;
        }
    }

    private static bool MatchesSet(ReadOnlySpan<byte> pattern, byte value, out int used)
    {
        var i = 1;
        var negated = i < pattern.Length && pattern[i] == '^';
        if (negated)
            i++;
        var found = false;
        while (i < pattern.Length && pattern[i] != ']')
        {
            if (pattern[i] == '\\' && i + 1 < pattern.Length)
                i++;
            if (i + 2 < pattern.Length && pattern[i + 1] == '-' && pattern[i + 2] != ']')
            {
                var (low, high) = (Math.Min(pattern[i], pattern[i + 2]), Math.Max(pattern[i], pattern[i + 2]));
                found |= value >= low && value <= high;
                i += 3;
                continue;
            }

            found |= pattern[i++] == value;
        }

        used = Math.Min(i + 1, pattern.Length);
        return found != negated;
    }
}
