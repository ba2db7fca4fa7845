using System.Globalization;
using System.Text;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Http;

/// <summary>Hashes and checksums as hexadecimal text.</summary>
internal static class HexText
{
    /// <exception cref="HttpProblemException">The text is no hash.</exception>
    public static BlockHash Hash(string text) => BlockHash.TryParse(text, out var hash)
        ? hash
        : throw new HttpProblemException(
            HttpProblem.Invalid($"'{HttpProblem.Shorten(text)}' is no block hash; {BlockHash.Size * 2} hexadecimal digits were expected."));

    /// <exception cref="HttpProblemException">There are too many, or one is no hash.</exception>
    public static BlockHash[] Hashes(string[] texts) => texts.Length <= WireProtocol.MaxBlocksPerRequest
        ? Array.ConvertAll(texts, Hash)
        : throw new HttpProblemException(
            HttpProblem.Invalid(
            $"There are {texts.Length} hashes; at most {WireProtocol.MaxBlocksPerRequest} are taken at a time. Send them in parts."));

    /// <summary>Checksums of layers, with commas.</summary>
    public static string Of(ReadOnlySpan<uint> checksums)
    {
        var text = new StringBuilder(checksums.Length * 9);
        foreach (var checksum in checksums)
            text.Append(text.Length > 0 ? "," : "").Append(CultureInfo.InvariantCulture, $"{checksum:x8}");
        return text.ToString();
    }

    /// <summary>Reads checksums of layers.</summary>
    /// <exception cref="HttpProblemException">It is not one checksum a layer.</exception>
    public static uint[] Checksums(string text, int layers)
    {
        var checksums = new uint[layers];
        var count = 0;
        foreach (var range in text.AsSpan().Split(','))
        {
            if (count == layers
                || !uint.TryParse(
                text.AsSpan(range).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out checksums[count++]))
                throw Wrong();
        }

        return count == layers ? checksums : throw Wrong();

        HttpProblemException Wrong() =>
            new(HttpProblem.Invalid(
            $"The header {BlockEndpoints.ChecksumsHeader} does not have the CRC-32 of {layers} layers; one number of hexadecimal digits a "
            + "layer was expected, with commas."));
    }
}
