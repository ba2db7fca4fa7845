using KvCache.Chat.Gguf;
using LLama.Native;

// Contexts of llama.cpp compute with threads of their own, which spin.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
[assembly: AssemblyFixture(typeof(KvCache.LLamaTests.TestModels))]

namespace KvCache.LLamaTests;

/// <summary>The models of all tests, written once.</summary>
public sealed class TestModels : IDisposable
{
    private static readonly DirectoryInfo Folder = Directory.CreateTempSubdirectory("kvcache-llama-");

    public TestModels()
    {
        NativeLogConfig.llama_log_set((_, _) => { }); // a page for each model, and what tests provoke
        HuggingFaceModel.Write(HarborModel.Folder, Harbor);
        RandomModel.Write(Windowed, new LlamaShape
        {
            Layers = 6,
            Dim = 128,
            Hidden = 256,
            Heads = 4,
            KvHeads = 2,
            HeadDim = 32,
            Vocabulary = 128,
            Context = 4096,
            Window = 64,
        });
        RandomModel.Write(SmallHeads, new LlamaShape
        {
            Layers = 1,
            Dim = 32,
            Hidden = 32,
            Heads = 2,
            KvHeads = 1,
            HeadDim = 16,
            Vocabulary = 128,
            Context = 512,
        });
    }

    /// <summary>The model of samples/QuickStart.</summary>
    public static string Harbor => Path.Combine(Folder.FullName, "harbor.gguf");

    /// <summary>Random weights with sliding windows of 64 tokens in five of six layers.</summary>
    public static string Windowed => Path.Combine(Folder.FullName, "windowed.gguf");

    /// <summary>Random weights, heads of 16 elements.</summary>
    public static string SmallHeads => Path.Combine(Folder.FullName, "heads.gguf");

    public void Dispose() => Folder.Delete(recursive: true);
}
