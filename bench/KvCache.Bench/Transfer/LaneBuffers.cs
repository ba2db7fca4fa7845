using KvCache.Bench.Memory;

namespace KvCache.Bench.Transfer;

/// <summary>
/// The memory of one lane, the same for all contenders: whoever runs in lane 0 reads into, or writes from, the same warm bytes.
/// Block <c>i</c> of a request lies at <c>i * block bytes</c>.
/// </summary>
/// <param name="bytes">Bytes of a request, the largest of all cases.</param>
/// <param name="withTarget">False where nothing is got, which saves its memory.</param>
internal sealed class LaneBuffers(long bytes, bool withTarget = true) : IDisposable
{
    /// <summary>Where blocks that are put come from.</summary>
    public WarmBuffer Source { get; } = WarmBuffer.Private(bytes);

    /// <summary>Where blocks that are got go to.</summary>
    public WarmBuffer Target { get; } = WarmBuffer.Private(withTarget ? bytes : WarmBuffer.LeastBytes);

    public void Dispose()
    {
        Source.Dispose();
        Target.Dispose();
    }
}
