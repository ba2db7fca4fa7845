using System.CommandLine;
using System.Runtime.InteropServices;
using KvCache.InferenceNode;
using KvCache.TorchSharp;

namespace KvCache.Bench.Codec;

/// <summary>KV that real models computed. The models are not part of the repository.</summary>
internal static class ModelKv
{
    private const int TokensPerBlock = 256;
    private const int MostTokens = 768;

    // All characters are in the vocabularies of the models known to be used here; what follows it, a model writes by itself.
    private const string Prompt =
        "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n- Osprey: pier 9, salt, from Lisbon\nUser: "
        + "What does Osprey carry?\nPilot: ";

    public static Option<DirectoryInfo> CreateOption() => new("--models")
    {
        Description = "Folder with models: Hugging Face directories and llama2.c checkpoints (*.bin).",
        HelpName = "DIR",
        DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("..", "shared", "models")),
    };

    /// <summary>Models of a folder by name; none, and a line of the log, when there are none.</summary>
    public static List<FileSystemInfo> Find(DirectoryInfo folder, Action<string> log)
    {
        List<FileSystemInfo> models = folder.Exists
            ? [.. folder.EnumerateDirectories().Where(model => File.Exists(Path.Combine(model.FullName, "config.json"))),
                .. folder.EnumerateFiles("*.bin")]
            : [];
        if (models.Count == 0)
            log($"SKIPPED: no models in {folder.FullName}, so that only synthetic KV is compressed; name a folder with --models.");
        return models;
    }

    /// <summary>
    /// Lets a model read a prompt and write on, drawing from its own distribution, and takes the KV of all whole blocks. It is computed in
    /// float32 and rounded, so that both types hold the same numbers.
    /// </summary>
    /// <returns>A sample of each type; none, and a line of the log, when the model does not load.</returns>
    public static IEnumerable<KvSample> Compute(FileSystemInfo source, Action<string> log, CancellationToken cancellation)
    {
        List<float[]> blocks;
        KvLayout layout;
        try
        {
            using var loaded = ModelLoader.Load(source.FullName);
            TorchThreads.Fit(loaded.Model.Config);
            blocks = Blocks(loaded, cancellation);
            layout = loaded.Model.CreateLayout(TokensPerBlock);
        }
        catch (Exception e) when (e is ModelFormatException or TypeInitializationException or DllNotFoundException or NotSupportedException)
        {
            log($"SKIPPED: {source.Name}: {e.Message}");
            return [];
        }

        log($"{source.Name}: {blocks.Count} blocks of {layout}");
        return new[] { KvDataType.BFloat16, KvDataType.Float16 }.Select(type => new KvSample(
            Path.GetFileNameWithoutExtension(source.Name),
            KvLayout.Create(layout.Layers, layout.KvHeads, layout.HeadDim, type, TokensPerBlock),
            [.. blocks.Select(block => KvSample.Round(block, type))]));
    }

    private static List<float[]> Blocks(LoadedModel loaded, CancellationToken cancellation)
    {
        using var session = loaded.Model.CreateSession();
        var most = Math.Min(MostTokens, loaded.Model.MaxContext) / TokensPerBlock * TokensPerBlock;
        var prompt = loaded.Tokenizer.Encode(Prompt);
        var sampler = new TokenSampler(new SamplingOptions { Temperature = 1, Seed = 1 });
        var next = prompt.AsSpan(0, Math.Min(prompt.Length, most)).ToArray();
        while (session.Length < most)
        {
            cancellation.ThrowIfCancellationRequested();
            using var logits = session.Forward(next);
            next = [sampler.Next(logits)];
        }

        var blocks = new List<float[]>();
        for (var first = 0; first < most; first += TokensPerBlock)
        {
            using var block = session.ExportBlock(first, TokensPerBlock);
            blocks.Add(MemoryMarshal.Cast<byte, float>(block.bytes).ToArray());
        }

        return blocks;
    }
}
