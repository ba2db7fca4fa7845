using KvCache.Bench.Measuring;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Store;

/// <summary>All ranks store their part of one prompt at the same time; the figure of a round is the time until the last one ends, in
/// milliseconds.</summary>
internal sealed class StoreContender : IContender, IDisposable
{
    private const int WarmUps = 2;
    private readonly LaneSet _ranks;

    public StoreContender(string name, IReadOnlyList<string> comparedWith, LaneSet ranks)
    {
        (Name, ComparedWith, _ranks) = (name, comparedWith, ranks);
        ranks.Run(WarmUps);
    }

    public string Name { get; }

    public IReadOnlyList<string> ComparedWith { get; }

    public double Measure() => _ranks.Run(1).TotalMilliseconds;

    public void Dispose() => _ranks.Dispose();
}
