using System.Runtime.InteropServices;

namespace KvCache.Chat.Gguf;

/// <summary>A model with random weights of any size and context: for times, not for text.</summary>
internal static class RandomModel
{
    private const int PoolElements = 1 << 18;

    /// <summary>Writes one.</summary>
    /// <param name="path">Path of the GGUF.</param>
    /// <param name="shape">Its sizes.</param>
    /// <param name="seed">Equal seeds give equal files.</param>
    /// <returns>Its parameters.</returns>
    public static long Write(string path, LlamaShape shape, int seed = 1)
    {
        var random = new Random(seed);
        var pool = new float[PoolElements]; // cut out of one pool, so that hundreds of megabytes take seconds
        for (var i = 0; i < pool.Length; i++)
            pool[i] = Normal(random);
        var file = new GgufFile();
        shape.Describe(file, GgufType.F16);
        Matrix("token_embd", shape.Vocabulary, shape.Dim);
        Ones("output_norm", shape.Dim);
        if (shape.Window == 0)
            Matrix("output", shape.Vocabulary, shape.Dim);
        for (var i = 0; i < shape.Layers; i++)
        {
            var (query, kv) = (shape.Heads * shape.HeadDim, shape.KvHeads * shape.HeadDim);
            Ones($"blk.{i}.attn_norm", shape.Dim);
            Ones($"blk.{i}.ffn_norm", shape.Dim);
            if (shape.Window > 0)
            {
                Ones($"blk.{i}.attn_q_norm", shape.HeadDim);
                Ones($"blk.{i}.attn_k_norm", shape.HeadDim);
                Ones($"blk.{i}.post_attention_norm", shape.Dim);
                Ones($"blk.{i}.post_ffw_norm", shape.Dim);
            }

            Matrix($"blk.{i}.attn_q", query, shape.Dim);
            Matrix($"blk.{i}.attn_k", kv, shape.Dim);
            Matrix($"blk.{i}.attn_v", kv, shape.Dim);
            Matrix($"blk.{i}.attn_output", shape.Dim, query);
            Matrix($"blk.{i}.ffn_gate", shape.Hidden, shape.Dim);
            Matrix($"blk.{i}.ffn_up", shape.Hidden, shape.Dim);
            Matrix($"blk.{i}.ffn_down", shape.Dim, shape.Hidden);
        }

        file.Write(path);
        return file.Parameters;

        void Ones(string name, int elements) => file.Add(
            name + ".weight", 0, elements, GgufType.F32,
            stream => stream.Write(MemoryMarshal.AsBytes<float>(Enumerable.Repeat(1f, elements).ToArray())));

        void Matrix(string name, int rows, int columns)
        {
            var (start, scale) = (random.Next(PoolElements), 1 / MathF.Sqrt(columns));
            file.Add(name + ".weight", rows, columns, GgufType.F16, stream =>
            {
                var halves = Array.ConvertAll(pool, value => (Half)(value * scale));
                var at = start;
                for (var left = (long)rows * columns; left > 0; at = 0)
                {
                    var count = (int)Math.Min(left, PoolElements - at);
                    stream.Write(MemoryMarshal.AsBytes(halves.AsSpan(at, count)));
                    left -= count;
                }
            });
        }
    }

    // Box and Muller.
    private static float Normal(Random random) =>
        (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
}
