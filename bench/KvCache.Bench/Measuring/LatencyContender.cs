using System.Diagnostics;
using KvCache.InferenceNode.Models;

namespace KvCache.Bench.Measuring;

/// <summary>
/// One call over and over; the figure of a round is its median call in microseconds. The slow ones are kept apart: on a machine that others
/// use too, a mean would mostly tell about them.
/// </summary>
/// <param name="name">Row name.</param>
/// <param name="comparedWith">Names of the yardsticks.</param>
/// <param name="call">The call; receives its number, so that consecutive calls can be about different things.</param>
internal sealed class LatencyContender(string name, IReadOnlyList<string> comparedWith, Action<int> call) : IContender
{
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(150);
    private readonly LatencySamples _samples = new();
    private readonly List<double> _tails = [];
    private int _calls;

    public string Name => name;

    public IReadOnlyList<string> ComparedWith => comparedWith;

    /// <summary>The 99th percentile of every round, in microseconds.</summary>
    public IReadOnlyList<double> Tails => _tails;

    /// <summary>Runs the call for as long as a round takes, without counting.</summary>
    public void WarmUp()
    {
        Run();
        _samples.Clear();
    }

    public double Measure()
    {
        _samples.Clear();
        Run();
        _tails.Add(_samples.Microseconds(0.99));
        return _samples.Microseconds(0.5);
    }

    private void Run()
    {
        var start = Stopwatch.GetTimestamp();
        do
        {
            var began = Stopwatch.GetTimestamp();
            call(_calls++);
            _samples.Add(began);
        }
        while (Stopwatch.GetElapsedTime(start) < Round);
    }
}
