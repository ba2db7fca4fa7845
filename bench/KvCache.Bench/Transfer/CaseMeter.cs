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
            var shape = new RowShape("GiB/s", transfer.Bytes, transfer.Connections, transfer.Batch == 1 ? null : transfer.Batch);
            RoundRows.Add(all, InterleavedRounds.Run(all, rounds, cancellation), shape, rows, ratios);
        }
        finally
        {
            meters.ForEach(meter => meter.Dispose());
        }
    }
}
