namespace KvCache.Bench.FirstToken;

/// <summary>The ways to the first token that are compared.</summary>
internal static class TtftContenders
{
    public const string Cold = "ttft.cold";
    public const string Resident = "ttft.resident";

    /// <summary>Suffixes of a transport's warm rows.</summary>
    public static IEnumerable<string> Ways(TtftCache cache) => [cache.Transport, $"{cache.Transport}.whole"];

    public static List<TtftContender> Of(TtftPrompt prompt, IEnumerable<TtftCache> caches)
    {
        List<TtftContender> contenders =
        [
            new(Cold, () => prompt.Session.Truncate(0), prompt.Compute, prompt.Check),
            new(Resident, () => prompt.Import(prompt.Known), prompt.Compute, prompt.Check) { ComparedWith = [Cold] },
        ];
        foreach (var cache in caches)
        {
            contenders.Add(
                new($"ttft.warm.{cache.Transport}", prompt.Wipe, cache.ComputeByLayers,
                prompt.Check)
                { ComparedWith = [Cold, $"ttft.warm.{cache.Transport}.whole"] });
            contenders.Add(
                new($"ttft.warm.{cache.Transport}.whole", prompt.Wipe, () => { cache.LoadWhole(); return prompt.Compute(); },
                prompt.Check)
                { ComparedWith = [Cold] });
            contenders.Add(new($"load.{cache.Transport}", prompt.Wipe, () => { cache.LoadWhole(); return null; }, prompt.Check));
        }

        return contenders;
    }
}
