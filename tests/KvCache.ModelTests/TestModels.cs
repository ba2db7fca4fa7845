using KvCache.InferenceNode;
using KvCache.Testing;
using KvCache.TorchSharp;
using TorchSharp;

// libtorch's threads and its count of live tensors belong to the whole process.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace KvCache.ModelTests;

/// <summary>The models that tests use, and the loop that continues a text.</summary>
internal static class TestModels
{
    /// <summary>Directory of the solution.</summary>
    public static string Root { get; } = Repository.Root;

    /// <summary>Loads the harbor model.</summary>
    public static LoadedModel Harbor() => Load(HarborModel.Folder);

    /// <summary>Loads stories260K, which is somebody else's and lies outside of the repository; skips the test where it is
    /// missing.</summary>
    public static LoadedModel Stories()
    {
        var path = Path.GetFullPath(Path.Combine(Root, "..", "shared", "models", "stories260K.bin"));
        if (!File.Exists(path))
            Assert.Skip($"stories260K.bin and tok512.model (karpathy/tinyllamas) are not at {path}.");
        return Load(path);
    }

    /// <summary>Loads any model, with one thread if it is small.</summary>
    public static LoadedModel Load(string source, ModelLoadOptions? options = null)
    {
        var loaded = ModelLoader.Load(source, options);
        TorchThreads.Fit(loaded.Model.Config);
        return loaded;
    }

    /// <summary>Computes tokens and then so many more, always the most likely.</summary>
    public static int[] Continue(ICausalSession session, ReadOnlySpan<int> tokens, int count)
    {
        var sampler = new TokenSampler(SamplingOptions.Greedy);
        var generated = new int[count];
        for (var i = 0; i < count; i++)
        {
            using var logits = session.Forward(i == 0 ? tokens : generated.AsSpan(i - 1, 1));
            generated[i] = sampler.Next(logits);
        }

        return generated;
    }

    /// <summary>Exports all whole blocks of a session, lets them be changed, and imports them into a new session.</summary>
    public static ICausalSession Transplant(
        LoadedModel loaded, ICausalSession from, int tokensPerBlock, Action<torch.Tensor>? change = null)
    {
        var session = loaded.Model.CreateSession();
        for (var first = 0; first + tokensPerBlock <= from.Length; first += tokensPerBlock)
        {
            using var block = from.ExportBlock(first, tokensPerBlock);
            change?.Invoke(block);
            session.ImportBlock(block);
        }

        return session;
    }
}
