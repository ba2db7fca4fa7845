
namespace KvCache.Benchmarks.Workloads;

/// <summary>A text that grows, as blocks: full ones keep their ids, and who goes on from a copy shares them.</summary>
/// <param name="ids">Gives the next id.</param>
internal sealed class PromptText(Func<int> ids)
{
    private readonly List<int> _blocks = [];

    /// <summary>Tokens so far.</summary>
    public int Tokens { get; private set; }

    /// <summary>Adds tokens that nobody else has at this place.</summary>
    public PromptText Append(int tokens)
    {
        Tokens += tokens;
        while (_blocks.Count < Tokens / TraceRequest.TokensPerBlock)
            _blocks.Add(ids());
        return this;
    }

    /// <summary>The same text, to go on from in another way: the block that is not full yet is each one's own.</summary>
    public PromptText Fork()
    {
        var fork = new PromptText(ids) { Tokens = Tokens };
        fork._blocks.AddRange(_blocks);
        return fork;
    }

    /// <summary>A request for it.</summary>
    /// <param name="milliseconds">When it comes.</param>
    /// <param name="answer">Tokens of its answer.</param>
    /// <param name="end">How the answer ends; see <see cref="TraceRequest.End"/>.</param>
    public TraceRequest Ask(double milliseconds, int answer, string end) => new(
        (long)milliseconds, Tokens, answer, Tokens % TraceRequest.TokensPerBlock == 0 ? [.. _blocks] : [.. _blocks, ids()], End: end);
}
