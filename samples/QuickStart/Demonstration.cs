using KvCache.InferenceNode;
using KvCache.QuickStart.Processes;
using KvCache.Silo.Hosting;

namespace KvCache.QuickStart;

/// <summary>What became of one prompt.</summary>
/// <param name="Name">What the prompt is.</param>
/// <param name="Cold">A run in which nothing came from the cache.</param>
/// <param name="Warm">The run through the filled cache, or null for the run that filled it.</param>
/// <param name="Identical">Whether the tokens are those of the run without a cache.</param>
internal sealed record DemoRow(string Name, PromptResult Cold, PromptResult? Warm, bool Identical);

/// <summary>What a demonstration showed.</summary>
/// <param name="Rows">The prompts.</param>
/// <param name="ControlChanged">Whether zeroed KV changed the text; null where that was not tried.</param>
/// <param name="Statistics">What the cache of the warm node says, and the silo.</param>
internal sealed record DemoOutcome(IReadOnlyList<DemoRow> Rows, bool? ControlChanged, KvCacheStatistics Statistics)
{
    /// <summary>Whether every token is that of the run without a cache.</summary>
    public bool Identical => Rows.All(row => row.Identical);

    /// <summary>Whether the prompt that one process left in the cache was found by another.</summary>
    public bool Hit => Rows.Any(row => row.Warm?.HitTokens > 0);

    /// <summary>Whether the cache did what it is for, and the control shows that it was used.</summary>
    public bool Passed => Identical && Hit && ControlChanged != false;
}

/// <summary>Runs inference nodes, one after the other so that none slows another down, and compares what they say.</summary>
/// <param name="filling">Node that fills the cache.</param>
/// <param name="reading">Node that finds it filled.</param>
/// <param name="folder">Folder for files.</param>
/// <param name="say">Is told what happens next.</param>
internal sealed class Demonstration(InferenceProcess filling, InferenceProcess reading, string folder, Action<string> say)
{
    /// <param name="prompts">The first one fills the cache.</param>
    /// <param name="between">What happens to the silos when the cache is filled.</param>
    /// <param name="hasControl">Whether a node then overwrites what it loads, and its text must change.</param>
    /// <param name="cancellationToken">Stops it.</param>
    public async Task<DemoOutcome> RunAsync(
        IReadOnlyList<DemoPrompt> prompts, Func<CancellationToken, Task> between, bool hasControl, CancellationToken cancellationToken)
    {
        string[] texts = [.. prompts.Select(prompt => prompt.Text)];
        say("Inference node without a cache: all prompts, as the reference");
        var reference = await (filling with { Endpoints = [] }).RunAsync(texts, folder, cancellationToken);
        say("Inference node with an empty cache: the first prompt");
        var filled = (await filling.RunAsync(texts[..1], folder, cancellationToken)).Results[0];
        await between(cancellationToken);
        say("Another inference node with that cache: all prompts");
        var warm = await reading.RunAsync(texts, folder, cancellationToken);
        bool? changed = null;
        if (hasControl)
        {
            say("Control: an inference node that overwrites what it loads with zeros");
            var control = (await (reading with { ZeroLoaded = true }).RunAsync(texts[..1], folder, cancellationToken)).Results[0];
            changed = control.HitTokens > 0 && !Same(control, reference.Results[0]);
        }

        var rows = new List<DemoRow> { new($"{prompts[0].Name}: fills the cache", filled, null, Same(filled, reference.Results[0])) };
        for (var i = 0; i < prompts.Count; i++)
        {
            var name = i == 0 ? $"{prompts[0].Name}: again" : prompts[i].Name;
            rows.Add(new DemoRow(name, reference.Results[i], warm.Results[i], Same(warm.Results[i], reference.Results[i])));
        }

        return new DemoOutcome(rows, changed, warm.Statistics);
    }

    private static bool Same(PromptResult one, PromptResult other) => one.Tokens.SequenceEqual(other.Tokens);
}
