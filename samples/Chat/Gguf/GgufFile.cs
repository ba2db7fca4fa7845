using System.Text;

namespace KvCache.Chat.Gguf;

/// <summary>Element types of tensors that are written here, by their numbers in ggml.</summary>
internal enum GgufType
{
    F32 = 0,
    F16 = 1,
}

/// <summary>
/// Writes GGUF files, version 3: metadata, then tensors. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
/// </summary>
internal sealed class GgufFile
{
    private const int Alignment = 32;
    private const int UInt32Kind = 4, Int32Kind = 5, Float32Kind = 6, BoolKind = 7, StringKind = 8, ArrayKind = 9;

    private readonly List<byte[]> _metadata = [];
    private readonly List<Tensor> _tensors = [];

    /// <summary>Numbers of all tensors.</summary>
    public long Parameters => _tensors.Sum(tensor => tensor.Elements);

    public void Put(string key, object value) => _metadata.Add(Bytes(writer =>
    {
        Text(writer, key);
        writer.Write(KindOf(value));
        Value(writer, value);
    }));

    public void Put<T>(string key, IReadOnlyList<T> values)
        where T : notnull => _metadata.Add(Bytes(writer =>
        {
            Text(writer, key);
            writer.Write(ArrayKind);
            writer.Write(KindOf(values[0]));
            writer.Write((ulong)values.Count);
            foreach (var value in values)
                Value(writer, value);
        }));

    /// <summary>Adds a matrix, or a vector where it has no rows.</summary>
    /// <param name="name">Name.</param>
    /// <param name="rows">Rows; 0 for a vector.</param>
    /// <param name="columns">Columns: the dimension whose elements lie side by side.</param>
    /// <param name="type">Element type.</param>
    /// <param name="write">Writes its bytes.</param>
    public void Add(string name, int rows, int columns, GgufType type, Action<Stream> write) =>
        _tensors.Add(new Tensor(name, rows, columns, type, write));

    /// <summary>Writes the file.</summary>
    public void Write(string path)
    {
        using var stream = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        using var writer = new BinaryWriter(stream, Encoding.UTF8);
        writer.Write("GGUF"u8);
        writer.Write(3u);
        writer.Write((ulong)_tensors.Count);
        writer.Write((ulong)_metadata.Count);
        foreach (var entry in _metadata)
            writer.Write(entry);
        var offset = 0L;
        foreach (var tensor in _tensors)
        {
            Text(writer, tensor.Name);
            writer.Write(tensor.Rows > 0 ? 2u : 1u);
            writer.Write((ulong)tensor.Columns);
            if (tensor.Rows > 0)
                writer.Write((ulong)tensor.Rows);
            writer.Write((uint)tensor.Type);
            writer.Write((ulong)offset);
            offset += Padded(tensor.Bytes);
        }

        Pad(writer);
        foreach (var tensor in _tensors)
        {
            writer.Flush();
            var began = stream.Position;
            tensor.Write(stream);
            if (stream.Position - began != tensor.Bytes)
                throw new InvalidOperationException(
                    $"{tensor.Name} took {stream.Position - began} bytes; {tensor.Bytes} were expected.");
            Pad(writer);
        }
    }

    private static long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    private static void Pad(BinaryWriter writer)
    {
        writer.Flush();
        writer.Write(new byte[Padded(writer.BaseStream.Position) - writer.BaseStream.Position]);
    }

    private static byte[] Bytes(Action<BinaryWriter> write)
    {
        using var stream = new MemoryStream();
        using (var writer = new BinaryWriter(stream, Encoding.UTF8, leaveOpen: true))
            write(writer);
        return stream.ToArray();
    }

    private static void Text(BinaryWriter writer, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }

    private static int KindOf(object value) => value switch
    {
        uint => UInt32Kind,
        int => Int32Kind,
        float => Float32Kind,
        bool => BoolKind,
        string => StringKind,
        _ => throw new ArgumentException($"{value.GetType()} is not a type of metadata that is written here.", nameof(value)),
    };

    private static void Value(BinaryWriter writer, object value)
    {
        switch (value)
        {
            case uint number: writer.Write(number); break;
            case int number: writer.Write(number); break;
            case float number: writer.Write(number); break;
            case bool flag: writer.Write(flag); break;
            case string text: Text(writer, text); break;
        }
    }

    private sealed record Tensor(string Name, int Rows, int Columns, GgufType Type, Action<Stream> Write)
    {
        public long Elements => (long)Math.Max(1, Rows) * Columns;

        public long Bytes => Elements * (Type == GgufType.F16 ? 2 : 4);
    }
}
