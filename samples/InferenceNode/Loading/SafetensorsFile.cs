using System.Buffers.Binary;
using TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>Tensors of one safetensors file: 8 bytes of header length (little-endian), the header, the data.</summary>
public sealed class SafetensorsFile : IDisposable
{
    private readonly FileStream _stream;
    private readonly long _dataStart;

    private SafetensorsFile(FileStream stream, long dataStart, IReadOnlyDictionary<string, SafetensorsEntry> entries)
    {
        _stream = stream;
        _dataStart = dataStart;
        Entries = entries;
    }

    /// <summary>Tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Entries { get; }

    /// <summary>Opens a file and reads its header.</summary>
    /// <exception cref="ModelFormatException">There is no such file, or it is not a whole safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        FileStream stream;
        try
        {
            stream = File.OpenRead(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException($"{path} cannot be opened: {e.Message}", e);
        }

        try
        {
            Span<byte> prefix = stackalloc byte[8];
            if (stream.Length < prefix.Length)
                throw new ModelFormatException(
                    $"The file has {stream.Length} bytes; a safetensors file starts with 8 bytes of header length.");
            stream.ReadExactly(prefix);
            var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (length > SafetensorsHeader.MaxLength || length > (ulong)(stream.Length - prefix.Length))
                throw new ModelFormatException(
                    $"The header claims {length} bytes; expected at most "
                    + $"{Math.Min(SafetensorsHeader.MaxLength, stream.Length - prefix.Length)} in a file of {stream.Length}.");
            var json = new byte[(int)length];
            stream.ReadExactly(json);
            return new SafetensorsFile(stream, stream.Position, SafetensorsHeader.Parse(json, stream.Length - stream.Position));
        }
        catch (ModelFormatException e)
        {
            stream.Dispose();
            throw new ModelFormatException($"{path}: {e.Message}", e);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Reads a tensor of floating-point numbers (F32, F16, BF16).</summary>
    /// <param name="name">Its name.</param>
    /// <param name="shape">The shape it must have.</param>
    /// <param name="type">Element type to convert to.</param>
    /// <param name="device">Where to put it.</param>
    /// <returns>A tensor that the caller, or its dispose scope, disposes.</returns>
    /// <exception cref="ModelFormatException">The tensor is missing, or its shape or type is not the expected one.</exception>
    public torch.Tensor Read(string name, ReadOnlySpan<long> shape, torch.ScalarType type, torch.Device device)
    {
        if (!Entries.TryGetValue(name, out var entry))
            throw new ModelFormatException($"{_stream.Name} has no tensor '{name}'.");
        if (!shape.SequenceEqual(entry.Shape.ToArray()))
            throw new ModelFormatException(
                $"Tensor '{name}' of {_stream.Name} has shape [{string.Join(", ", entry.Shape)}]; the configuration asks for "
                + $"[{string.Join(", ", shape.ToArray())}].");

        var stored = entry.DataType switch
        {
            "F32" => torch.ScalarType.Float32,
            "F16" => torch.ScalarType.Float16,
            "BF16" => torch.ScalarType.BFloat16,
            _ => throw new ModelFormatException(
                $"Tensor '{name}' of {_stream.Name} has dtype {entry.DataType}; expected F32, F16 or BF16."),
        };
        using var scope = torch.NewDisposeScope();
        var tensor = torch.empty(shape.ToArray(), stored);
        _stream.Position = _dataStart + entry.Begin;
        tensor.ReadBytesFromStream(_stream, 1 << 20);
        return tensor.to(type, device).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();
}
