using KvCache.Chat.Gguf;
using KvCache.Client;
using KvCache.LLamaSharp;
using KvCache.LLamaSharp.Models;
using LLama;
using LLama.Common;
using LLama.Native;
using Microsoft.Extensions.Options;

namespace KvCache.LLamaTests;

public sealed class RefusalTests : IAsyncDisposable
{
    private readonly LocalKvCache _cache = new(ByteSize.MiB(1));

    public ValueTask DisposeAsync() => _cache.DisposeAsync();

    [Fact]
    public void Quantized_values_without_flash_attention_are_refused_before_they_end_the_process() =>
        Refuses("flash attention", TestModels.Harbor, p => p with { TypeV = GGMLType.GGML_TYPE_Q8_0, FlashAttention = false });

    [Fact]
    public void Quantized_values_are_refused_where_nobody_says_that_there_is_flash_attention() =>
        Refuses("FlashAttention = true", TestModels.Harbor, p => p with { TypeV = GGMLType.GGML_TYPE_Q8_0, FlashAttention = null });

    [Fact]
    public void Quantized_keys_of_heads_that_do_not_fit_are_refused() =>
        Refuses("a head of this model has 16", TestModels.SmallHeads, p => p with { TypeK = GGMLType.GGML_TYPE_Q8_0 });

    [Fact]
    public void A_type_that_no_cache_has_is_refused() =>
        Refuses("TypeK is GGML_TYPE_Q6_K", TestModels.Harbor, p => p with { TypeK = GGMLType.GGML_TYPE_Q6_K });

    [Fact]
    public void Windows_whose_past_is_dropped_are_refused() =>
        Refuses("SwaFull is false", TestModels.Windowed, p => p with { SwaFull = false });

    [Fact]
    public void Blocks_longer_than_a_window_are_refused() =>
        Refuses("BlockTokens is 256 and the model has sliding windows of 64 tokens", TestModels.Windowed, p => p);

    [Fact]
    public void Options_that_cannot_be_are_told_all_at_once()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor));
        var options = new LLamaPrefixCacheOptions { Tenant = "", BlockTokens = 0 };

        var error = Assert.Throws<OptionsValidationException>(() => LLamaPrefixCache.Create(_cache, context.Context, options));

        Assert.Equal(["Tenant is empty", "BlockTokens is 0"], error.Failures.Select(failure => failure.Split(';')[0]));
    }

    [Fact]
    public void A_context_without_a_sequence_to_spare_is_refused()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor) with { SeqMax = 1 });

        var error = Assert.Throws<NotSupportedException>(() => LLamaPrefixCache.Create(_cache, context.Context));

        Assert.Contains("SeqMax of one more than conversations", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sequences_with_memory_of_their_own_are_refused()
    {
        using var context = new DrivenContext(DrivenContext.Of(TestModels.Harbor) with { KVUnified = false });

        var error = Assert.Throws<NotSupportedException>(() => LLamaPrefixCache.Create(_cache, context.Context));

        Assert.Contains("KVUnified is false", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Everything_that_changes_the_bytes_is_another_namespace()
    {
        var harbor = DrivenContext.Of(TestModels.Harbor);
        var other = Path.Combine(Path.GetDirectoryName(TestModels.Harbor)!, "other.gguf");
        RandomModel.Write(other, new LlamaShape
        {
            Layers = 1,
            Dim = 32,
            Hidden = 32,
            Heads = 1,
            KvHeads = 1,
            HeadDim = 32,
            Vocabulary = 128,
        });
        var named = new LLamaPrefixCacheOptions { BlockTokens = 16, Model = "one name for all" };
        var namespaces = new[]
        {
            Of(harbor, named),
            Of(harbor, named with { BlockTokens = 32 }),
            Of(harbor, named with { Tenant = "other" }),
            Of(harbor, named with { Salt = "salt" }),
            Of(harbor, named with { Variant = "variant" }),
            Of(harbor with { TypeK = GGMLType.GGML_TYPE_F32 }, named),
            Of(harbor with { TypeV = GGMLType.GGML_TYPE_F32 }, named),
            Of(harbor with { FlashAttention = false }, named),
            Of(harbor with { RopeFrequencyBase = 20000 }, named),
            Of(harbor with { RopeFrequencyScale = 0.5f }, named),
            Of(harbor with { YarnScalingType = RopeScalingType.Yarn, YarnOriginalContext = 512 }, named),
            Of(harbor with { YarnScalingType = RopeScalingType.Yarn, YarnOriginalContext = 512, YarnBetaFast = 16 }, named),
            Of(DrivenContext.Of(other), named),
            Of(DrivenContext.Of(TestModels.Windowed), named),
        };

        Assert.Equal(namespaces.Length, namespaces.Select(ns => ns.Id).Distinct().Count());
        Assert.Equal(namespaces[0], Of(harbor with { SeqMax = 5, ContextSize = 2048, BatchSize = 64, Threads = 2 }, named));
        Assert.Equal(LlamaLibrary.Build, namespaces[0].Fields["llama.cpp"]);
        Assert.Matches("^[0-9a-f]{6,}$", LlamaLibrary.Build);
    }

    [Fact]
    public void A_model_in_several_files_is_all_of_them()
    {
        var folder = Directory.CreateTempSubdirectory("kvcache-parts-");
        var parts = Enumerable.Range(1, 3).Select(i => Path.Combine(folder.FullName, $"m-0000{i}-of-00003.gguf")).ToList();
        foreach (var part in parts)
            File.WriteAllText(part, part[^20..]);

        var first = ModelDigest.Of(parts[0]);
        File.AppendAllText(parts[2], "more");
        var second = ModelDigest.Of(parts[0]);

        Assert.NotEqual(first, second);
        Assert.Equal(second, ModelDigest.Of(parts[1]));
        folder.Delete(recursive: true);
    }

    private CacheNamespace Of(ModelParams parameters, LLamaPrefixCacheOptions options)
    {
        using var context = new DrivenContext(parameters);
        using var prefixes = LLamaPrefixCache.Create(_cache, context.Context, options);
        return prefixes.Namespace;
    }

    private void Refuses(string reason, string model, Func<ModelParams, ModelParams> change)
    {
        var parameters = change(DrivenContext.Of(model));
        using var weights = LLamaWeights.LoadFromFile(parameters);

        var error = Assert.Throws<NotSupportedException>(() => LLamaPrefixExecutor.Create(weights, parameters, _cache));

        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.EndsWith(".", error.Message, StringComparison.Ordinal);
    }
}
