namespace KvCache.QuickStart;

/// <summary>What became of one prompt.</summary>
/// <param name="Name">What the prompt is.</param>
/// <param name="Cold">A run in which nothing came from the cache.</param>
/// <param name="Warm">The run through the filled cache, or null for the run that filled it.</param>
/// <param name="Identical">Whether the tokens are those of the run without a cache.</param>
internal sealed record DemoRow(string Name, PromptResult Cold, PromptResult? Warm, bool Identical);

/// <summary>What a demonstration showed.</summary>
/// <param name="Rows">The prompts.</param>
/// <param name="ControlChanged">Whether zeroed KV changed the text.</param>
/// <param name="Statistics">What the cache of the warm node says, and the silo.</param>
internal sealed record DemoOutcome(IReadOnlyList<DemoRow> Rows, bool ControlChanged, KvCacheStatistics Statistics)
{
    /// <summary>Whether every token is that of the run without a cache.</summary>
    public bool Identical => Rows.All(row => row.Identical);

    /// <summary>Whether the prompt that one process left in the cache was found by another.</summary>
    public bool Hit => Rows.Any(row => row.Warm?.HitTokens > 0);

    /// <summary>Whether the cache did what it is for, and the control shows that it was used.</summary>
    public bool Passed => Identical && Hit && ControlChanged;
}

/// <summary>Runs inference nodes, one after the other so that none slows another down, and compares what they say.</summary>
/// <param name="cached">Node with the cache.</param>
/// <param name="folder">Folder for files.</param>
/// <param name="say">Is told what happens next.</param>
internal sealed class Demonstration(InferenceProcess cached, string folder, Action<string> say)
{
    public async Task<DemoOutcome> RunAsync(IReadOnlyList<DemoPrompt> prompts, CancellationToken cancellationToken)
    {
        string[] texts = [.. prompts.Select(prompt => prompt.Text)];
        say("Inference node without a cache: all prompts, as the reference");
        var reference = await (cached with { Endpoints = [] }).RunAsync(texts, folder, cancellationToken);
        say("Inference node with an empty cache: the first prompt");
        var filling = (await cached.RunAsync(texts[..1], folder, cancellationToken)).Results[0];
        say("Another inference node with that cache: all prompts");
        var warm = await cached.RunAsync(texts, folder, cancellationToken);
        say("Control: an inference node that overwrites what it loads with zeros");
        var control = (await (cached with { ZeroLoaded = true }).RunAsync(texts[..1], folder, cancellationToken)).Results[0];

        var rows = new List<DemoRow> { new($"{prompts[0].Name}: fills the cache", filling, null, Same(filling, reference.Results[0])) };
        for (var i = 0; i < prompts.Count; i++)
        {
            var name = i == 0 ? $"{prompts[0].Name}: again" : prompts[i].Name;
            rows.Add(new DemoRow(name, reference.Results[i], warm.Results[i], Same(warm.Results[i], reference.Results[i])));
        }

        return new DemoOutcome(rows, control.HitTokens > 0 && !Same(control, reference.Results[0]), warm.Statistics);
    }

    private static bool Same(PromptResult one, PromptResult other) => one.Tokens.SequenceEqual(other.Tokens);
}
