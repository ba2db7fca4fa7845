using KvCache.Bench.Measuring;

namespace KvCache.BenchTests;

public sealed class InterleavedRoundsTests
{
    [Fact]
    public void Every_round_runs_everyone_once_and_starts_with_the_next()
    {
        var order = new List<string>();
        IContender[] contenders = [new Recorder("a", order), new Recorder("b", order), new Recorder("c", order)];

        var figures = InterleavedRounds.Run(contenders, 3, TestContext.Current.CancellationToken);

        Assert.Equal("abc bca cab", string.Join(' ', order.Chunk(3).Select(round => string.Concat(round))));
        // A figure is the turn in which it was taken.
        Assert.Equal([1, 6, 8], figures[0]);
    }

    [Fact]
    public void Cancellation_stops_between_two_contenders()
    {
        var order = new List<string>();
        using var cancellation = new CancellationTokenSource();
        IContender[] contenders = [new Recorder("a", order, cancellation.Cancel), new Recorder("b", order)];

        Assert.Throws<OperationCanceledException>(() => InterleavedRounds.Run(contenders, 3, cancellation.Token));
        Assert.Equal(["a"], order);
    }

    private sealed class Recorder(string name, List<string> order, Action? onMeasure = null) : IContender
    {
        public string Name => name;

        public IReadOnlyList<string> ComparedWith => [];

        public double Measure()
        {
            order.Add(name);
            onMeasure?.Invoke();
            return order.Count;
        }
    }
}
