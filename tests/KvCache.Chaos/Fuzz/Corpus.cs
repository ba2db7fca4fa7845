using System.Reflection;

namespace KvCache.Chaos.Fuzz;

/// <summary>Valid inputs, recorded from our own writers (<c>fuzz --record</c>), which mutation begins from.</summary>
internal static class Corpus
{
    private const string Prefix = "corpus/";

    /// <summary>The inputs of a format, in the order of their names.</summary>
    /// <exception cref="InvalidOperationException">There are none.</exception>
    public static byte[][] Of(string format)
    {
        var assembly = Assembly.GetExecutingAssembly();
        var names = assembly.GetManifestResourceNames().Where(name => name.StartsWith($"{Prefix}{format}/", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal).ToArray();
        return names.Length > 0
            ? [.. names.Select(name => Read(assembly, name))]
            : throw new InvalidOperationException($"The corpus has no input of the format '{format}'.");
    }

    private static byte[] Read(Assembly assembly, string name)
    {
        using var stream = assembly.GetManifestResourceStream(name)!;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
