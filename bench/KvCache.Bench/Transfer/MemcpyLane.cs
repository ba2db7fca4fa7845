using KvCache.Bench.Memory;

namespace KvCache.Bench.Transfer;

/// <summary>What a reader on the same host pays at least: a copy out of a warm mapping of shared memory.</summary>
internal sealed class MemcpyLane(TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    private readonly WarmBuffer _mapping = WarmBuffer.Shared(transfer.RequestBytes);

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            for (var block = 0; block < transfer.Batch; block++)
            {
                var offset = block * transfer.Bytes;
                _mapping.Slice(offset, transfer.BlockLength).CopyTo(buffers.Target.Slice(offset, transfer.BlockLength));
            }
        }
    }

    public void Dispose() => _mapping.Dispose();
}
