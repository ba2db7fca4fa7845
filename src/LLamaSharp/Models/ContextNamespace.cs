using System.Globalization;
using System.Text;
using KvCache.LLamaSharp.States;
using LLama;
using LLama.Abstractions;
using LLama.Native;

namespace KvCache.LLamaSharp.Models;

/// <summary>The namespace of a context: everything that changes the bytes of a state, or what they mean.</summary>
internal static class ContextNamespace
{
    public static CacheNamespace Of(LLamaContext context, LLamaPrefixCacheOptions options, StateShape shape, BlockForm form)
    {
        var parameters = context.Params;
        var model = context.NativeHandle.ModelHandle;
        var path = options.ModelPath ?? (parameters as IModelParams)?.ModelPath;
        var digest = options.ModelDigest ?? (path is null
            ? throw new ArgumentException(
                "The context's parameters do not name the model's file; ModelPath or ModelDigest was expected in the options.",
                nameof(options))
            : ModelDigest.Of(path));
        if (parameters is IModelParams { MetadataOverrides.Count: > 0 } && options.Variant.Length == 0)
            throw new ArgumentException(
                "MetadataOverrides change the model without changing its file; a name for them was expected in the options' Variant.",
                nameof(options));
        var fields = new Dictionary<string, string>
        {
            ["llama.cpp"] = LlamaLibrary.Build,
            ["flash attention"] = shape.Caches.Any(cache => cache.IsTransposed) ? "off" : "on",
            ["attention"] = parameters.AttentionType.ToString(),
            ["rope"] = Text(
                ("base", parameters.RopeFrequencyBase), ("scale", parameters.RopeFrequencyScale),
                ("scaling", (int?)parameters.YarnScalingType)),
            ["yarn"] = Text(
                ("extrapolation", parameters.YarnExtrapolationFactor), ("attention", parameters.YarnAttentionFactor),
                ("fast", parameters.YarnBetaFast), ("slow", parameters.YarnBetaSlow), ("context", parameters.YarnOriginalContext)),
            ["variant"] = options.Variant,
        };
        // Such models choose their RoPE factors by the size of the context.
        if (Metadata(model, "rope.scaling.original_context_length") is { } original)
            fields["context"] = string.Create(
                CultureInfo.InvariantCulture, $"{context.ContextSize} of {original}, {context.NativeHandle.MaxSeq} sequences");
        // Quantized KV is rotated before it is rounded, unless the environment says otherwise.
        if (LlamaLibrary.Variable("LLAMA_ATTN_ROT_DISABLE") is { } rotation)
            fields["LLAMA_ATTN_ROT_DISABLE"] = rotation;
        return new CacheNamespace
        {
            Tenant = options.Tenant,
            Model = options.Model ?? Metadata(model, null) ?? Path.GetFileNameWithoutExtension(path) ?? digest[..16],
            Revision = digest,
            LoraAdapter = string.Join(
                ' ', options.LoraAdapters.Select(lora =>
                    string.Create(CultureInfo.InvariantCulture, $"{ModelDigest.Of(lora.Path)[..32]}*{lora.Scale:R}"))),
            Salt = options.Salt,
            NumberFormat = "ggml " + string.Join(' ', shape.Caches
                .SelectMany(cache => cache.Keys.Select(key => $"k{key.Type}").Concat(cache.Values.Select(value => $"v{value.Type}")))
                .Distinct().Order(StringComparer.Ordinal)),
            Fields = fields,
            Layout = KvLayout.Opaque(form.Bytes, options.BlockTokens),
        };
    }

    private static string? Metadata(SafeLlamaModelHandle model, string? key)
    {
        if (key is not null && Value(model, "general.architecture") is { } architecture)
            key = $"{architecture}.{key}";
        return Value(model, key ?? "general.name") is { Length: > 0 } value ? value : null;
    }

    private static string? Value(SafeLlamaModelHandle model, string key) =>
        model.MetadataValueByKey(key) is { } bytes ? Encoding.UTF8.GetString(bytes.Span).TrimEnd('\0') : null;

    private static string Text(params ReadOnlySpan<(string Name, IFormattable? Value)> values)
    {
        var text = new StringBuilder();
        foreach (var (name, value) in values)
            text.Append(CultureInfo.InvariantCulture, $"{name}={value?.ToString(null, CultureInfo.InvariantCulture) ?? "model"} ");
        return text.ToString().TrimEnd();
    }
}
