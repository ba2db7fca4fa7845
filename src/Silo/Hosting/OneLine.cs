namespace KvCache.Silo.Hosting;

/// <summary>A text of others as one line: what is told is a sentence, whatever caused it.</summary>
internal static class OneLine
{
    public static string Of(string text) => string.Join(' ', text.Split((char[])['\r', '\n'], StringSplitOptions.RemoveEmptyEntries));
}
