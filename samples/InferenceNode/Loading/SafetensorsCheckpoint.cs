using System.Text.Json;
using KvCache.InferenceNode.Loading;
using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>
/// The weights of a Hugging Face directory: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> names.
/// </summary>
public sealed class SafetensorsCheckpoint : IDisposable
{
    private readonly string _directory;
    private readonly Dictionary<string, SafetensorsFile> _files; // by tensor name; a shard occurs many times

    private SafetensorsCheckpoint(string directory, IReadOnlyList<string> paths, Dictionary<string, SafetensorsFile> files)
    {
        _directory = directory;
        Paths = paths;
        _files = files;
    }

    /// <summary>The files, ordered by name.</summary>
    public IReadOnlyList<string> Paths { get; }

    /// <summary>Opens the weights of a directory.</summary>
    /// <exception cref="ModelFormatException">There are none, or a file is broken.</exception>
    public static SafetensorsCheckpoint Open(string directory)
    {
        var single = Path.Combine(directory, "model.safetensors");
        var index = Path.Combine(directory, "model.safetensors.index.json");
        if (File.Exists(single))
        {
            var file = SafetensorsFile.Open(single);
            return new SafetensorsCheckpoint(
                directory, [single], file.Entries.Keys.ToDictionary(name => name, _ => file, StringComparer.Ordinal));
        }

        if (!File.Exists(index))
            throw new ModelFormatException($"{directory} has neither model.safetensors nor model.safetensors.index.json.");

        var shards = new SortedDictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        try
        {
            var files = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
            foreach (var (tensor, shard) in ReadIndex(index))
            {
                if (!shards.TryGetValue(shard, out var file))
                    shards[shard] = file = SafetensorsFile.Open(Path.Combine(directory, shard));
                if (!file.Entries.ContainsKey(tensor))
                    throw new ModelFormatException($"{index} says that {shard} has tensor '{tensor}', but it has not.");
                files[tensor] = file;
            }

            return new SafetensorsCheckpoint(directory, [.. shards.Keys.Select(name => Path.Combine(directory, name))], files);
        }
        catch
        {
            foreach (var file in shards.Values)
                file.Dispose();
            throw;
        }
    }

    /// <summary>Whether there is such a tensor.</summary>
    public bool Contains(string name) => _files.ContainsKey(name);

    /// <summary>Reads a tensor; see <see cref="SafetensorsFile.Read"/>.</summary>
    /// <exception cref="ModelFormatException">The tensor is missing, or its shape or type is not the expected one.</exception>
    public torch.Tensor Read(string name, ReadOnlySpan<long> shape, torch.ScalarType type, torch.Device device) =>
        _files.TryGetValue(name, out var file)
            ? file.Read(name, shape, type, device)
            : throw new ModelFormatException($"The weights in {_directory} have no tensor '{name}'.");

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in _files.Values.Distinct())
            file.Dispose();
    }

    private static IEnumerable<(string Tensor, string Shard)> ReadIndex(string path)
    {
        using var document = JsonFile.Read(path);
        if (!document.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
            throw new ModelFormatException($"{path} has no object 'weight_map' of tensor names and files.");
        foreach (var property in map.EnumerateObject())
        {
            var shard = property.Value.ValueKind == JsonValueKind.String ? property.Value.GetString() : null;
            if (string.IsNullOrEmpty(shard) || shard != Path.GetFileName(shard))
                throw new ModelFormatException(
                    $"{path} places tensor '{property.Name}' in '{property.Value}'; expected the name of a file beside it.");
            yield return (property.Name, shard);
        }
    }
}
