using KvCache.Bench.Measuring;
using KvCache.Bench.Reports;

namespace KvCache.Bench.Transfer;

/// <summary>One case of a scenario that moves blocks: interleaved rounds of all contenders, and what they say.</summary>
internal static class CaseMeter
{
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(100);

    /// <summary>Runs everyone who takes part in a case, and adds their rows and ratios to the report.</summary>
    public static void Measure(
        IEnumerable<ITransferContender> contenders,
        TransferCase transfer,
        IReadOnlyList<LaneBuffers> buffers,
        IEnumerable<IContender> guests,
        int rounds,
        List<BenchRow> rows,
        List<RatioRow> ratios,
        CancellationToken cancellation)
    {
        var meters = new List<TransferMeter>();
        try
        {
            foreach (var contender in contenders.Where(contender => contender.Supports(transfer)))
            {
                cancellation.ThrowIfCancellationRequested();
                meters.Add(TransferMeter.Open(contender, transfer, buffers, Round));
            }
            IContender[] all = [.. meters, .. guests];
            AddRows(all, InterleavedRounds.Run(all, rounds, cancellation), transfer, rows, ratios);
        }
        finally
        {
            meters.ForEach(meter => meter.Dispose());
        }
    }

    private static void AddRows(IContender[] contenders, double[][] figures, TransferCase transfer, List<BenchRow> rows, List<RatioRow> ratios)
    {
        int? batch = transfer.Batch == 1 ? null : transfer.Batch;
        for (var i = 0; i < contenders.Length; i++)
        {
            var (name, summary) = (contenders[i].Name, Summary.Of(figures[i]).Rounded());
            rows.Add(new RateRow(name, transfer.Bytes, transfer.Connections, batch, "GiB/s", summary.Median, summary.Min, summary.Max));
            foreach (var yardstick in contenders[i].ComparedWith)
            {
                var other = Array.FindIndex(contenders, contender => contender.Name == yardstick);
                if (other < 0)
                    continue;
                var ratio = Summary.OfRatios(figures[i], figures[other]).Rounded();
                ratios.Add(new RatioRow($"{name}/{yardstick}", transfer.Bytes, transfer.Connections, batch, ratio.Median, ratio.Min, ratio.Max));
            }
        }
    }
}
