using System.Text.Json;

namespace KvCache.InferenceNode;

/// <summary>A file with prompts: a JSON array of strings.</summary>
public static class PromptList
{
    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellationToken">Cancels reading.</param>
    /// <returns>At least one prompt.</returns>
    /// <exception cref="JsonException">It is not an array of strings, or has none.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static async Task<IReadOnlyList<string>> ReadAsync(string path, CancellationToken cancellationToken = default)
    {
        await using var stream = File.OpenRead(path);
        var prompts = await JsonSerializer.DeserializeAsync(stream, NodeJsonContext.Default.StringArray, cancellationToken) ?? [];
        return prompts.Length > 0 && !prompts.Contains(null)
            ? prompts
            : throw new JsonException($"{path} has no prompts; a JSON array of at least one string was expected.");
    }
}
