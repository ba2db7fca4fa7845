namespace KvCache.Chat.Gguf;

/// <summary>Sizes of a model of the Llama architecture, or of Gemma 3's where it has a window.</summary>
internal sealed record LlamaShape
{
    public string Name { get; init; } = "random";

    public int Layers { get; init; } = 16;

    public int Dim { get; init; } = 1024;

    public int Hidden { get; init; } = 2816;

    public int Heads { get; init; } = 16;

    public int KvHeads { get; init; } = 4;

    public int HeadDim { get; init; } = 64;

    public int Vocabulary { get; init; } = 512;

    public int Context { get; init; } = 8192;

    public float Epsilon { get; init; } = 1e-5f;

    public float Theta { get; init; } = 10000;

    /// <summary>Tokens of a sliding window, which five of six layers have; 0 for none.</summary>
    public int Window { get; init; }

    /// <summary>Writes the metadata: the architecture, and a tokenizer whose tokens are the ASCII characters.</summary>
    public void Describe(GgufFile file, GgufType type)
    {
        var architecture = Window > 0 ? "gemma3" : "llama";
        file.Put("general.architecture", architecture);
        file.Put("general.name", Name);
        file.Put("general.file_type", (uint)type);
        foreach (var (key, value) in new (string, int)[]
        {
            ("context_length", Context), ("embedding_length", Dim), ("block_count", Layers), ("feed_forward_length", Hidden),
            ("attention.head_count", Heads), ("attention.head_count_kv", KvHeads), ("attention.key_length", HeadDim),
            ("attention.value_length", HeadDim), ("rope.dimension_count", HeadDim), ("vocab_size", Vocabulary),
        })
            file.Put($"{architecture}.{key}", (uint)value);
        if (Window > 0)
            file.Put($"{architecture}.attention.sliding_window", (uint)Window);
        file.Put($"{architecture}.attention.layer_norm_rms_epsilon", Epsilon);
        file.Put($"{architecture}.rope.freq_base", Theta);
        DescribeTokenizer(file);
    }

    // As pieces of text, so that llama.cpp's own tokenizer finds them. 0 ends a text.
    private void DescribeTokenizer(GgufFile file)
    {
        const int Normal = 1, Control = 3;
        const string Space = "\u2581"; // how SentencePiece writes it
        file.Put("tokenizer.ggml.model", "llama");
        file.Put("tokenizer.ggml.pre", "default");
        file.Put<string>(
            "tokenizer.ggml.tokens",
            [.. Enumerable.Range(0, Vocabulary).Select(i => i == 0 ? "<end>" : i == ' ' ? Space : i < 128 ? $"{(char)i}" : $"<{i}>")]);
        file.Put<float>("tokenizer.ggml.scores", new float[Vocabulary]);
        file.Put<int>("tokenizer.ggml.token_type", [.. Enumerable.Range(0, Vocabulary).Select(i => i == 0 ? Control : Normal)]);
        file.Put("tokenizer.ggml.bos_token_id", 0u);
        file.Put("tokenizer.ggml.eos_token_id", 0u);
        file.Put("tokenizer.ggml.unknown_token_id", 0u);
        file.Put("tokenizer.ggml.add_space_prefix", false);
        file.Put("tokenizer.ggml.add_bos_token", false);
    }
}
