using System.Text.Json;

namespace KvCache.InferenceNode.Loading;

/// <summary>Small JSON files of a model directory, with errors that name the file.</summary>
internal static class JsonFile
{
    /// <summary>Reads a file whose root is an object.</summary>
    /// <exception cref="ModelFormatException">The file is missing, not JSON, or not an object.</exception>
    public static JsonDocument Read(string path)
    {
        try
        {
            var document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind == JsonValueKind.Object)
                return document;
            document.Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new ModelFormatException($"{path} cannot be read: {e.Message}", e);
        }

        throw new ModelFormatException($"{path} is not a JSON object.");
    }
}
