using LLama;
using LLama.Common;
using LLama.Native;

namespace KvCache.LLamaTests;

/// <summary>A context that a test drives token by token.</summary>
internal sealed class DrivenContext : IDisposable
{
    private readonly LLamaWeights _weights;

    public DrivenContext(ModelParams parameters)
    {
        Parameters = parameters;
        _weights = LLamaWeights.LoadFromFile(parameters);
        Context = _weights.CreateContext(parameters);
    }

    public ModelParams Parameters { get; }

    public LLamaContext Context { get; }

    public static ModelParams Of(string model, GGMLType type = GGMLType.GGML_TYPE_F16, bool? flash = null) => new(model)
    {
        ContextSize = 1024,
        SeqMax = 3,
        TypeK = type,
        TypeV = type,
        FlashAttention = flash,
        Threads = 1,
        BatchThreads = 1,
    };

    public LLamaToken[] Tokenize(string text) => Context.Tokenize(text, addBos: true, special: true);

    /// <summary>Computes tokens in one batch.</summary>
    /// <returns>Logits of the last one.</returns>
    public float[] Decode(ReadOnlySpan<LLamaToken> tokens, int position, int sequence = 0)
    {
        var batch = new LLamaBatch();
        for (var i = 0; i < tokens.Length; i++)
            batch.Add(tokens[i], position + i, (LLamaSeqId)sequence, i == tokens.Length - 1);
        Assert.Equal(DecodeResult.Ok, Context.NativeHandle.Decode(batch));
        return Context.NativeHandle.GetLogitsIth(tokens.Length - 1).ToArray();
    }

    /// <summary>Goes on with the most likely tokens.</summary>
    public LLamaToken[] Continue(float[] logits, int position, int count, int sequence = 0)
    {
        var tokens = new LLamaToken[count];
        for (var i = 0; i < count; i++)
        {
            tokens[i] = Array.IndexOf(logits, logits.Max());
            logits = Decode(tokens.AsSpan(i, 1), position + i, sequence);
        }

        return tokens;
    }

    public void Dispose()
    {
        Context.Dispose();
        _weights.Dispose();
    }
}
