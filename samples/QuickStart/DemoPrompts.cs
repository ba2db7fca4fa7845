using KvCache.InferenceNode;

namespace KvCache.QuickStart;

/// <summary>A prompt and what is to be shown with it.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Text">The prompt.</param>
internal sealed record DemoPrompt(string Name, string Text);

/// <summary>
/// Prompts of a demonstration. The first one fills the cache; all of them, the first included, are then continued by another process.
/// </summary>
internal static class DemoPrompts
{
    private static readonly string[] Berths =
    [
        "Osprey: pier 9, salt, from Lisbon", "Marigold: pier 4, timber, from Riga", "Kestrel: pier 21, copper, from Porto",
        "Lantern: pier 17, silk, from Izmir", "Juniper: pier 12, tea, from Dover", "Heron: pier 28, grain, from Split",
        "Swallow: pier 3, wool, from Cork", "Bramble: pier 14, coffee, from Genoa", "Falcon: pier 26, paper, from Gdansk",
        "Thistle: pier 7, olives, from Bari", "Curlew: pier 19, wine, from Nantes", "Meadow: pier 30, sugar, from Cadiz",
        "Plover: pier 11, spices, from Tunis", "Clover: pier 23, cotton, from Haifa", "Magpie: pier 5, glass, from Varna",
    ];

    /// <summary>For the model that comes with this sample: the text that it knows, one byte a token.</summary>
    public static IReadOnlyList<DemoPrompt> ForHarbor { get; } =
    [
        new("berth list, question", Harbor(Berths.Length, "What does Lantern carry?")),
        new("same list, another question", Harbor(Berths.Length, "Where does Heron come from?")),
        new("half of the list", Harbor(Berths.Length / 2, "Where does Kestrel come from?")),
        new("something else", "User: Which ship is at pier 4?\nPilot: Marigold is at pier 4.\nUser: What does Marigold carry?\nPilot: "),
    ];

    /// <summary>Long ones, where a prefill takes seconds: for a model of random numbers, which does not mind what it reads.</summary>
    public static IReadOnlyList<DemoPrompt> Long { get; } =
    [
        new("long list, question", Cargo(140, "What does Lantern carry?")),
        new("same list, another question", Cargo(140, "Where does Heron come from?")),
        new("half of the list", Cargo(70, "Where does Kestrel come from?")),
        new("something else (control)", "User: Which ship is at pier 4?\nPilot: "),
    ];

    /// <summary>For any model that can read English and has room for 400 tokens.</summary>
    public static IReadOnlyList<DemoPrompt> ForAnyModel { get; } =
    [
        new("story, beginning of an end", Story(2, "When Lily came home, her mom said")),
        new("same story, another end", Story(2, "That night Tom had a dream. In his dream")),
        new("half of the story", Story(1, "Then the sun came out and")),
        new("something else", "The old lighthouse stood on a rock far out in the sea. Every evening an old man climbed up and"),
    ];

    /// <summary>Prompts of the user's own: see <see cref="PromptList"/>.</summary>
    public static async Task<IReadOnlyList<DemoPrompt>> ReadAsync(string path, CancellationToken cancellationToken) =>
        [.. (await PromptList.ReadAsync(path, cancellationToken)).Select((text, i) => new DemoPrompt($"prompt {i + 1}", text))];

    private static string Harbor(int berths, string question) =>
        "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n"
        + string.Concat(Berths.Take(berths).Select(berth => $"- {berth}\n"))
        + $"User: {question}\nPilot: ";

    private static string Cargo(int lines, string question) =>
        "System: Answer from the list.\n"
        + string.Concat(Enumerable.Range(1, lines).Select(i => $"- lot {i}: {Berths[i % Berths.Length]}\n"))
        + $"User: {question}\nPilot: ";

    private static string Story(int parts, string end)
    {
        string[] story =
        [
            "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her friend Tom. "
            + "One day, they saw a big red ball under a tree. Lily wanted to play with it, but a small brown dog sat on the grass beside "
                + "it. ",
            "Tom was scared of the dog. Lily smiled and gave the dog a piece of her bread. The dog was happy and ran around the tree. "
            + "They played with the ball until the sky was dark, and then they had to go home. ",
        ];
        return string.Concat(story.Take(parts)) + end;
    }
}
