using KvCache.InferenceNode;
using KvCache.QuickStart;

namespace KvCache.Notebook;

/// <summary>
/// The small language model that comes with the repository (samples/QuickStart/model), and the text that it knows. A token is a byte of
/// ASCII. It shows that a cache works; it is not clever.
/// </summary>
public static class Harbor
{
    /// <summary>A list of ships that questions are about, behind an instruction: what many prompts begin with.</summary>
    public static string Beginning { get; } =
        DemoPrompts.ForHarbor[0].Text[..DemoPrompts.ForHarbor[0].Text.IndexOf("User:", StringComparison.Ordinal)];

    /// <summary>Questions about the list.</summary>
    public static IReadOnlyList<string> Questions { get; } =
    [
        "What does Lantern carry?", "Where does Heron come from?", "What does Falcon carry?", "Where does Kestrel come from?",
        "What does Meadow carry?", "Where does Clover come from?", "What does Juniper carry?", "Where does Osprey come from?",
    ];

    /// <summary>A prompt: the list, and a question.</summary>
    /// <param name="question">The question.</param>
    public static string Prompt(string question) => $"{Beginning}User: {question}\nPilot: ";

    /// <summary>Loads the model, and lets it compute a little, so that what is measured later is not the compiler.</summary>
    public static LoadedModel Load()
    {
        var loaded = ModelLoader.Load(Path.Combine(AppContext.BaseDirectory, "harbor"));
        TorchThreads.Fit(loaded.Model.Config);
        using var session = loaded.Model.CreateSession();
        for (var i = 0; i < 3; i++)
        {
            session.Forward(loaded.Tokenizer.Encode(Beginning)).Dispose();
            session.Truncate(0);
        }

        return loaded;
    }
}
