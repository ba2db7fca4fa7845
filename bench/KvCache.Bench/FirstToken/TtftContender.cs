using System.Diagnostics;
using KvCache.Bench.Measuring;
using TorchSharp;

namespace KvCache.Bench.FirstToken;

/// <summary>A way to the first token of the prompt, or a part of one; its time in milliseconds.</summary>
/// <param name="name">Row name.</param>
/// <param name="prepare">Brings the session into its state; not timed.</param>
/// <param name="run">What is timed. Gives the logits of the prompt's last token, or null when nothing is computed.</param>
/// <param name="check">Is given the logits.</param>
internal sealed class TtftContender(string name, Action prepare, Func<torch.Tensor?> run, Action<string, torch.Tensor> check) : IContender
{
    public string Name => name;

    public IReadOnlyList<string> ComparedWith { get; init; } = [];

    public double Measure()
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
