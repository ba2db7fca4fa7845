using KvCache.Chat.Gguf;
using LLama.Native;

// Contexts of llama.cpp compute with threads of their own, which spin.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
[assembly: AssemblyFixture(typeof(KvCache.LLamaTests.TestModels))]

namespace KvCache.LLamaTests;

/// <summary>The models of all tests, written once.</summary>
public sealed class TestModels : IDisposable
{
    public const string HarborPrompt =
        "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n"
        + "- Osprey: pier 9, salt, from Lisbon\n- Marigold: pier 4, timber, from Riga\n- Kestrel: pier 21, copper, from Porto\n"
        + "- Lantern: pier 17, silk, from Izmir\n- Juniper: pier 12, tea, from Dover\n- Heron: pier 28, grain, from Split\n"
        + "User: What does Lantern carry?\nPilot: ";

    /// <summary>What the model's readme says that it answers.</summary>
    public const string HarborAnswer =
        "Lantern carries copper.\nUser: Where does Osprey come from?\nPilot: Osprey comes from Izmir.\n"
        + "User: Where does Heron come from?\nPilot: Heron comes from Split.\n";

    private static readonly DirectoryInfo Folder = Directory.CreateTempSubdirectory("kvcache-llama-");

    public TestModels()
    {
        NativeLogConfig.llama_log_set((_, _) => { }); // a page for each model, and what tests provoke
        HuggingFaceModel.Write(Path.Combine(Repository.Root, "samples", "QuickStart", "model"), Harbor);
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
