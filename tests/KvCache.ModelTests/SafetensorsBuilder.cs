using System.Text.Json;

namespace KvCache.ModelTests;

/// <summary>Writes safetensors files.</summary>
internal sealed class SafetensorsBuilder
{
    private readonly List<(string Name, string Type, long[] Shape, byte[] Data)> _tensors = [];

    public SafetensorsBuilder Add(string name, string type, long[] shape, byte[] data)
    {
        _tensors.Add((name, type, shape, data));
        return this;
    }

    public byte[] Header()
    {
        var begin = 0L;
        var header = new Dictionary<string, object>();
        foreach (var (name, type, shape, data) in _tensors)
        {
            header[name] = new { dtype = type, shape, data_offsets = new[] { begin, begin + data.Length } };
            begin += data.Length;
        }

        return JsonSerializer.SerializeToUtf8Bytes(header);
    }

    public byte[] Build()
    {
        var header = Header();
        return [.. BitConverter.GetBytes((ulong)header.Length), .. header, .. _tensors.SelectMany(t => t.Data)];
    }
}
