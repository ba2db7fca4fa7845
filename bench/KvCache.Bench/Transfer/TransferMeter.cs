using KvCache.Bench.Measuring;

namespace KvCache.Bench.Transfer;

/// <summary>Turns open lanes into a contender whose rounds all last about as long.</summary>
internal sealed class TransferMeter : IContender, IDisposable
{
    private const double Gib = 1L << 30;
    private readonly ITransferContender _contender;
    private readonly TransferCase _case;
    private readonly LaneSet _lanes;
    private readonly int _requests;

    private TransferMeter(ITransferContender contender, TransferCase transfer, LaneSet lanes, TimeSpan round)
    {
        _contender = contender;
        _case = transfer;
        _lanes = lanes;
        _requests = Calibrate(round);
    }

    public string Name => _contender.Name;

    public IReadOnlyList<string> ComparedWith => _contender.ComparedWith;

    /// <summary>Opens a contender, warms it up and finds how many requests fill a round.</summary>
    public static TransferMeter Open(
        ITransferContender contender, TransferCase transfer, IReadOnlyList<LaneBuffers> buffers, TimeSpan round)
    {
        var lanes = contender.Open(transfer, buffers);
        try
        {
            return new TransferMeter(contender, transfer, lanes, round);
        }
        catch
        {
            lanes.Dispose();
            throw;
        }
    }

    /// <returns>GiB/s of all lanes together.</returns>
    public double Measure() => _case.RequestBytes * (double)_requests * _lanes.Count / _lanes.Run(_requests).TotalSeconds / Gib;

    public void Dispose() => _lanes.Dispose();

    private int Calibrate(TimeSpan round)
    {
        // Doubling doubles as warm-up: congestion windows and buffers have grown, code is compiled, before the time is believed.
        for (var requests = 1; ; requests *= 2)
        {
            var elapsed = _lanes.Run(requests);
            if (elapsed >= round / 4)
                return Math.Max(1, (int)Math.Round(requests * (round / elapsed)));
        }
    }
}
