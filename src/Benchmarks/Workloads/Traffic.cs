
namespace KvCache.Benchmarks.Workloads;

/// <summary>One user, agent or job: asks again and again until it ends.</summary>
/// <returns>Its request at a time in milliseconds, and when it asks again; null when it does not.</returns>
internal delegate (TraceRequest Request, double? Again) Asking(double milliseconds);

/// <summary>A kind of traffic: how often somebody new comes, and what that one does.</summary>
/// <param name="Name">Its name on the command line.</param>
/// <param name="Description">A line for the help.</param>
/// <param name="Arrivals">Mean milliseconds between two that come.</param>
/// <param name="Come">Makes one that comes.</param>
internal sealed record Traffic(string Name, string Description, double Arrivals, Func<Asking> Come);

/// <summary>
/// The traffic of language-model servers, made up by chance. Sizes, gaps and shares are those that public traces show: the conversations of
/// Mooncake (Qin et al., FAST 2025: median think time 123 s, a third of first turns have a second one) and coding agents (the
/// kv-cache-tester traces: tools' answers within 8.6 s, heads of 10,000 tokens and more).
/// </summary>
internal sealed class TrafficKinds
{
    private const int LongestPrompt = 120_000;

    private readonly Chance _chance;
    private readonly PromptText[] _assistants, _agents, _documents, _tasks;
    private int _next;

    public TrafficKinds(int seed)
    {
        _chance = new Chance(seed);
        _assistants = Texts(8, () => _chance.Tokens(900, 0.8, 100, 4_000));
        _agents = Texts(4, () => _chance.Between(10_000, 16_000));
        _documents = Texts(300, () => _chance.Tokens(12_000, 0.7, 2_000, 100_000));
        _tasks = Texts(30, () => _chance.Tokens(1_500, 0.6, 600, 6_000));
        All =
        [
            new("conversation", "People who chat: turns minutes apart, each a little longer than the last.", 1_500, Conversation),
            new("agents", "Coding agents: long shared heads, tools that answer in seconds, then a person who reads.", 45_000, Agent),
            new("documents", "Questions about one of 300 documents of 12,000 tokens.", 2_000, Document),
            new("system", "Short requests behind one of 30 system prompts.", 400, Task),
        ];
    }

    public IReadOnlyList<Traffic> All { get; }

    public Chance Chance => _chance;

    private PromptText[] Texts(int count, Func<int> tokens) =>
        [.. Enumerable.Range(0, count).Select(_ => new PromptText(() => _next++).Append(tokens()))];

    private Asking Conversation()
    {
        var text = _chance.Popular(_assistants, 1.2).Fork();
        var turn = 0;
        return now =>
        {
            turn++;
            var request = text.Append(_chance.Tokens(160, 1.3, 8, 16_000)).Ask(now, _chance.Tokens(250, 0.8, 10, 2_000), "end_turn");
            text.Append(request.OutputLength);
            var goesOn = text.Tokens < LongestPrompt && _chance.Happens(Math.Min(0.3 + (0.07 * turn), 0.75));
            return (request, goesOn ? now + _chance.LogNormal(123_000, 1.1) : null);
        };
    }

    private Asking Agent()
    {
        var text = _chance.Popular(_agents, 1).Fork();
        return now =>
        {
            var callsTool = _chance.Happens(0.94);
            var request = text.Append(_chance.Tokens(500, 1.2, 20, 20_000))
                .Ask(now, _chance.Tokens(300, 0.9, 20, 4_000), callsTool ? "tool_use" : "end_turn");
            text.Append(request.OutputLength);
            var goesOn = text.Tokens < LongestPrompt && _chance.Happens(callsTool ? 0.99 : 0.7);
            return (request, goesOn ? now + (callsTool ? _chance.LogNormal(8_600, 1) : _chance.LogNormal(210_000, 1.3)) : null);
        };
    }

    private Asking Document() => Once(_documents, 0.9, question: 60);

    private Asking Task() => Once(_tasks, 1.1, question: 400);

    private Asking Once(PromptText[] texts, double exponent, double question) => now =>
    {
        var text = _chance.Popular(texts, exponent).Fork().Append(_chance.Tokens(question, 0.9, 10, 8_000));
        return (text.Ask(now, _chance.Tokens(200, 0.8, 10, 2_000), "one_shot"), null);
    };
}
