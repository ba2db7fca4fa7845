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
    /// <summary>The prompt of the harbor model's check vector; see its README.</summary>
    public const string HarborPrompt =
        "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n"
        + "- Osprey: pier 9, salt, from Lisbon\n- Marigold: pier 4, timber, from Riga\n- Kestrel: pier 21, copper, from Porto\n"
        + "- Lantern: pier 17, silk, from Izmir\n- Juniper: pier 12, tea, from Dover\n- Heron: pier 28, grain, from Split\n"
        + "User: What does Lantern carry?\nPilot: ";

    /// <summary>What it answers.</summary>
    public const string HarborAnswer =
        "Lantern carries copper.\nUser: Where does Osprey come from?\nPilot: Osprey comes from Izmir.\n"
        + "User: Where does Heron come from?\nPilot: Heron comes from Split.\n";

    /// <summary>Directory of the solution.</summary>
    public static string Root { get; } = Repository.Root;

    /// <summary>Directory of the harbor model.</summary>
    public static string HarborPath => Path.Combine(Root, "samples", "QuickStart", "model");

    /// <summary>Loads the harbor model.</summary>
    public static LoadedModel Harbor() => Load(HarborPath);

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
