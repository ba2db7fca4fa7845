using KvCache.InferenceNode.Loading;
using KvCache.TorchSharp;

namespace KvCache.InferenceNode;

/// <summary>A model and its tokenizer.</summary>
/// <param name="Model">The model.</param>
/// <param name="Tokenizer">Its tokenizer.</param>
public sealed record LoadedModel(LlamaModel Model, ITokenizer Tokenizer) : IDisposable
{
    /// <summary>Disposes the model.</summary>
    public void Dispose() => Model.Dispose();
}

/// <summary>Loads models of every supported form.</summary>
public static class ModelLoader
{
    /// <summary>Prefix of the names of random models.</summary>
    public const string RandomPrefix = "random:";

    /// <summary>Loads a model.</summary>
    /// <param name="source">
    /// A Hugging Face directory, a llama2.c checkpoint, or <c>random:NAME</c> with a name of <see cref="RandomModels.Names"/>.
    /// </param>
    /// <param name="options">How to load it; null for the defaults.</param>
    /// <exception cref="ModelFormatException">The model is missing, broken, or of a kind that is not supported.</exception>
    /// <exception cref="ArgumentException">The options ask for an element type that models do not compute in.</exception>
    public static LoadedModel Load(string source, ModelLoadOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(source);
        options ??= new ModelLoadOptions();
        try
        {
            if (source.StartsWith(RandomPrefix, StringComparison.Ordinal))
                return RandomModels.Create(source[RandomPrefix.Length..], options);
            if (Directory.Exists(source))
                return HuggingFaceLoader.Load(source, options);
            if (File.Exists(source))
                return Llama2CLoader.Load(source, options);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException($"{source} cannot be read: {e.Message}", e);
        }

        throw new ModelFormatException($"There is no model '{source}'; expected a directory, a llama2.c file, or {RandomPrefix}NAME.");
    }
}
