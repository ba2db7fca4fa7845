using System.Text;

namespace KvCache.Silo.Resp;

/// <summary>Requests that are a plain line, as people type them: words between blanks, or between quotes.</summary>
internal static class InlineCommand
{
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
