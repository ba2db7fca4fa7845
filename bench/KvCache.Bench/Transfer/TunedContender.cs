using KvCache.Bench.Measuring;

namespace KvCache.Bench.Transfer;

/// <summary>
/// The best of several settings of one contender, chosen anew for each case: a yardstick is only hard when nobody finds better
/// settings for it. All settings run two short rounds, the better half then three more, and the best median is opened.
/// </summary>
internal sealed class TunedContender(
    string name,
    IReadOnlyList<string> comparedWith,
    IReadOnlyList<(string Setting, ITransferContender Contender)> settings,
    Action<string> log,
    CancellationToken cancellation) : ITransferContender
{
    private const int FirstRounds = 2;
    private const int FinalRounds = 3;
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(25);

    public string Name => name;

    public IReadOnlyList<string> ComparedWith => comparedWith;

    public LaneSet Open(TransferCase transfer, IReadOnlyList<LaneBuffers> buffers)
    {
        var meters = new List<TransferMeter>();
        try
        {
            foreach (var (_, contender) in settings)
                meters.Add(TransferMeter.Open(contender, transfer, buffers, Round));
            int[] all = [.. Enumerable.Range(0, meters.Count)];
            var finalists = Best(meters, all, FirstRounds)[..((all.Length + 1) / 2)];
            var best = finalists.Length == 1 ? finalists[0] : Best(meters, finalists, FinalRounds)[0];
            log($"  {Name}: {settings[best].Setting}");
            return settings[best].Contender.Open(transfer, buffers);
        }
        finally
        {
            meters.ForEach(meter => meter.Dispose());
        }
    }

    private int[] Best(List<TransferMeter> meters, int[] among, int rounds)
    {
        var figures = InterleavedRounds.Run([.. among.Select(i => meters[i])], rounds, cancellation);
        return [.. among.Zip(figures, (index, values) => (index, Summary.Of(values).Median)).OrderByDescending(x => x.Median)
            .Select(x => x.index)];
    }
}
