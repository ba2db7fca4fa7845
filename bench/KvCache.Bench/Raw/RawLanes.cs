using System.IO.Hashing;
using System.Net.Sockets;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Raw;

/// <summary>Asks for blocks and receives them.</summary>
internal sealed class RawGetLane(Socket socket, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            socket.SendRequest(new RawRequest(RawOperation.Get, transfer.Batch, transfer.Bytes));
            socket.ReceiveExactly(buffers.Target.Slice(0, checked((int)transfer.RequestBytes)));
        }
    }

    public void Dispose() => socket.Dispose();
}

/// <summary>As <see cref="RawGetLane"/>, with a CRC-32 over each received piece while it is in the CPU's cache: what a verified read must
/// cost.</summary>
internal sealed class RawCheckedGetLane(Socket socket, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    private const int PieceBytes = 256 << 10;
    private readonly Crc32 _checksum = new();

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            socket.SendRequest(new RawRequest(RawOperation.Get, transfer.Batch, transfer.Bytes));
            var target = buffers.Target.Slice(0, checked((int)transfer.RequestBytes));
            while (target.Length > 0)
            {
                var received = socket.Receive(target[..Math.Min(target.Length, PieceBytes)]);
                if (received == 0)
                    throw new EndOfStreamException($"The raw server closed the connection {target.Length:N0} bytes before the end.");
                _checksum.Append(target[..received]);
                target = target[received..];
            }
        }
    }

    public void Dispose() => socket.Dispose();
}

/// <summary>Sends blocks and waits for the acknowledgement.</summary>
internal sealed class RawPutLane(Socket socket, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            socket.SendRequest(new RawRequest(RawOperation.Put, transfer.Batch, transfer.Bytes));
            for (var block = 0; block < transfer.Batch; block++)
                socket.SendExactly(buffers.Source.Slice(block * transfer.Bytes, transfer.BlockLength));
            socket.ReceiveAck();
        }
    }

    public void Dispose() => socket.Dispose();
}
