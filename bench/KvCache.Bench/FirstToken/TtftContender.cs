using System.Diagnostics;
using KvCache.Bench.Measuring;
using TorchSharp;

namespace KvCache.Bench.FirstToken;

/// <summary>
/// A way to the first token of the prompt, or a part of one; the figure of a round is its time in milliseconds, the median of several runs in a row where a run is
/// short: what a load adds to them is less than what one of them differs from the next.
/// </summary>
/// <param name="name">Row name.</param>
/// <param name="prepare">Brings the session into its state; not timed.</param>
/// <param name="run">What is timed. Gives the logits of the prompt's last token, or null when nothing is computed.</param>
/// <param name="check">Is given the logits.</param>
internal sealed class TtftContender(string name, Action prepare, Func<torch.Tensor?> run, Action<string, torch.Tensor> check) : IContender
{
    public string Name => name;

    public IReadOnlyList<string> ComparedWith { get; init; } = [];

    /// <summary>Runs of a round.</summary>
    public int Runs { get; init; } = 3;

    public double Measure() => Summary.Of([.. Enumerable.Range(0, Runs).Select(_ => MeasureOnce())]).Median;

    /// <summary>Runs once, for the compiler and the connections.</summary>
    public double MeasureOnce()
    {
        prepare();
        var began = Stopwatch.GetTimestamp();
        using var logits = run();
        var elapsed = Stopwatch.GetElapsedTime(began).TotalMilliseconds;
        if (logits is not null)
            check(name, logits);
        return elapsed;
    }
}
