using System.Text.Json;
using System.Text.Unicode;

namespace KvCache.InferenceNode;

/// <summary>Where a tensor lies in a safetensors file.</summary>
/// <param name="DataType">Name of the element type, such as <c>F16</c>.</param>
/// <param name="Shape">Dimensions; none for a scalar.</param>
/// <param name="Begin">First byte, counted from the end of the header.</param>
/// <param name="End">Byte after the last.</param>
public sealed record SafetensorsEntry(string DataType, IReadOnlyList<long> Shape, long Begin, long End);

/// <summary>
/// The header of a safetensors file: https://github.com/huggingface/safetensors, "Format". As in the reference implementation,
/// tensors must cover the data without holes or overlaps, so that no byte of a file is unaccounted for.
/// </summary>
public static class SafetensorsHeader
{
    /// <summary>Longest header, in bytes; the reference implementation's bound.</summary>
    public const int MaxLength = 100_000_000;

    /// <summary>Parses the JSON of a header.</summary>
    /// <param name="json">The header without its length.</param>
    /// <param name="dataLength">Bytes that follow the header.</param>
    /// <returns>Tensors by name.</returns>
    /// <exception cref="ModelFormatException">The header is not valid, whatever its bytes are.</exception>
    public static IReadOnlyDictionary<string, SafetensorsEntry> Parse(ReadOnlyMemory<byte> json, long dataLength)
    {
        if (!Utf8.IsValid(json.Span))
            throw new ModelFormatException("The safetensors header is not UTF-8.");
        try
        {
            using var document = JsonDocument.Parse(json);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new ModelFormatException($"The safetensors header is a JSON {document.RootElement.ValueKind}; expected an object.");
            var entries = new Dictionary<string, SafetensorsEntry>(StringComparer.Ordinal);
            foreach (var property in document.RootElement.EnumerateObject())
            {
                if (property.Name == "__metadata__")
                    continue;
                if (!entries.TryAdd(property.Name, ParseEntry(property.Name, property.Value)))
                    throw new ModelFormatException($"The safetensors header names tensor '{property.Name}' twice.");
            }

            CheckCoverage(entries, dataLength);
            return entries;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string with an unpaired surrogate, or a value of another kind than expected.
            throw new ModelFormatException("The safetensors header is not valid JSON of the expected form.", e);
        }
    }

    /// <summary>Bytes of an element; null for a type that is not known.</summary>
    internal static int? ElementSize(string dataType) => dataType switch
    {
        "F64" or "I64" or "U64" => 8,
        "F32" or "I32" or "U32" => 4,
        "F16" or "BF16" or "I16" or "U16" => 2,
        "BOOL" or "I8" or "U8" or "F8_E4M3" or "F8_E5M2" => 1,
        _ => null,
    };

    private static SafetensorsEntry ParseEntry(string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out var type) || type.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out var dimensions) || dimensions.ValueKind != JsonValueKind.Array
            || !value.TryGetProperty("data_offsets", out var offsets) || offsets.ValueKind != JsonValueKind.Array
                || offsets.GetArrayLength() != 2)
        {
            throw new ModelFormatException($"Tensor '{name}' in the safetensors header lacks dtype, shape or two data_offsets.");
        }

        var dataType = type.GetString()!;
        var size = (Int128)(
            ElementSize(dataType) ?? throw new ModelFormatException($"Tensor '{name}' has the unknown dtype '{dataType}'."));
        var shape = dimensions.EnumerateArray().Select(d => Number(name, d)).ToArray();
        foreach (var dimension in shape)
        {
            size *= dimension;
            if (size > long.MaxValue)
                throw new ModelFormatException($"Tensor '{name}' of shape [{string.Join(", ", shape)}] is larger than any file.");
        }

        var (begin, end) = (Number(name, offsets[0]), Number(name, offsets[1]));
        if (end - begin != size)
            throw new ModelFormatException(
                $"Tensor '{name}', {dataType} [{string.Join(", ", shape)}], takes {size} bytes; its data_offsets {begin} to {end} span "
                + $"{end - begin}.");
        return new SafetensorsEntry(dataType, shape, begin, end);
    }

    private static long Number(string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) && number >= 0
            ? number
            : throw new ModelFormatException($"Tensor '{name}' has a dimension or offset '{value}'; expected a whole number from 0.");

    private static void CheckCoverage(Dictionary<string, SafetensorsEntry> entries, long dataLength)
    {
        var covered = 0L;
        foreach (var (name, entry) in entries.OrderBy(e => e.Value.Begin).ThenBy(e => e.Value.End))
        {
            if (entry.Begin != covered)
                throw new ModelFormatException(
                    $"Tensor '{name}' begins at byte {entry.Begin}; expected {covered}, as tensors follow each other without holes or "
                    + "overlaps.");
            covered = entry.End;
        }

        if (covered != dataLength)
            throw new ModelFormatException(
                $"The tensors take {covered} bytes, but {dataLength} follow the header: the file is cut or has something appended.");
    }
}
