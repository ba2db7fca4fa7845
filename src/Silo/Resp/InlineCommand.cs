using System.Text;

namespace KvCache.Silo.Resp;

/// <summary>Requests that are a plain line, as people type them: words between blanks, or between quotes.</summary>
internal static class InlineCommand
{
    /// <summary>
    /// Whether a line is one of an HTTP request. A web page can make its visitor's browser send such a request here, with lines of the
    /// page's choice behind it.
    /// </summary>
    public static bool IsHttp(ReadOnlySpan<byte> line)
    {
        line = line.Trim(" \t"u8);
        var word = line.IndexOfAny((byte)' ', (byte)'\t') is var end and >= 0 ? line[..end] : line;
        var last = line[(line.LastIndexOfAny((byte)' ', (byte)'\t') + 1)..];
        return Ascii.EqualsIgnoreCase(word, "POST"u8) || Ascii.EqualsIgnoreCase(word[..Math.Min(word.Length, 5)], "Host:"u8)
            || (last.Length < line.Length && Ascii.EqualsIgnoreCase(last[..Math.Min(last.Length, 5)], "HTTP/"u8));
    }

    /// <summary>Splits a line into its words.</summary>
    /// <returns>False when a quote is not closed.</returns>
    public static bool TrySplit(ReadOnlySpan<byte> line, out List<byte[]> words)
    {
        words = [];
        while (true)
        {
            line = line.TrimStart(" \t"u8);
            if (line.IsEmpty)
                return true;
            if (line[0] is (byte)'"' or (byte)'\'')
            {
                var close = line[1..].IndexOf(line[0]);
                if (close < 0 || (close + 2 < line.Length && line[close + 2] is not ((byte)' ' or (byte)'\t')))
                    return false;
                words.Add(line.Slice(1, close).ToArray());
                line = line[(close + 2)..];
                continue;
            }

            var end = line.IndexOfAny((byte)' ', (byte)'\t');
            var word = end < 0 ? line : line[..end];
            words.Add(word.ToArray());
            line = line[word.Length..];
        }
    }

    /// <summary>The words as arguments of a request.</summary>
    public static byte[] Encode(List<byte[]> words)
    {
        var result = new MemoryStream();
        foreach (var word in words)
        {
            result.Write(Encoding.ASCII.GetBytes($"${word.Length}\r\n"));
            result.Write(word);
            result.Write("\r\n"u8);
        }

        return result.ToArray();
    }
}
