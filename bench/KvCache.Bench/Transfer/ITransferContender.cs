namespace KvCache.Bench.Transfer;

/// <summary>
/// A way of moving blocks. The frame opens it once per case, before the first round, and owns and times what it opened;
/// the contender only moves bytes.
/// </summary>
internal interface ITransferContender
{
    /// <summary>Row name, for example <c>get.tcp</c>.</summary>
    string Name { get; }

    /// <summary>Row names that this one is divided by where they run in the same case, for example <c>raw.get.tcp</c>.</summary>
    IReadOnlyList<string> ComparedWith { get; }

    /// <summary>False leaves the contender out of the case.</summary>
    bool Supports(TransferCase transfer) => true;

    /// <summary>Prepares the case (stores what will be got, connects) with one lane per element of <paramref name="buffers"/>.</summary>
    LaneSet Open(TransferCase transfer, IReadOnlyList<LaneBuffers> buffers);
}

/// <summary>One connection's worth of a contender, used by one thread at a time.</summary>
internal interface ITransferLane : IDisposable
{
    /// <summary>
    /// Moves <paramref name="requests"/> requests of <see cref="TransferCase.Batch"/> blocks and returns when the last byte has arrived
    /// (get) or has been acknowledged (put).
    /// </summary>
    /// <exception cref="IOException">A block was refused, missing or cut short: a benchmark of misses would be a fast one.</exception>
    void Run(int requests);
}

/// <summary>A contender that needs nothing shared between its lanes.</summary>
internal sealed class TransferContender(
    string name,
    IReadOnlyList<string> comparedWith,
    Func<TransferCase, LaneBuffers, ITransferLane> openLane) : ITransferContender
{
    public string Name => name;

    public IReadOnlyList<string> ComparedWith => comparedWith;

    public LaneSet Open(TransferCase transfer, IReadOnlyList<LaneBuffers> buffers) =>
        LaneSet.Open(buffers, lane => openLane(transfer, lane));
}
