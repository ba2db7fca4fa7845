using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Redis;

/// <summary>GET of existing keys; the requests of a batch are pipelined.</summary>
internal sealed class RedisGetLane : ITransferLane
{
    private readonly RedisKeys _keys;
    private readonly TransferCase _case;
    private readonly LaneBuffers _buffers;

    public RedisGetLane(EndPoint address, SocketTuning tuning, TransferCase transfer, LaneBuffers buffers)
    {
        (_case, _buffers) = (transfer, buffers);
        _keys = new RedisKeys(RespClient.Connect(address, tuning), transfer);
        _keys.SetAll(buffers);
    }

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            foreach (var key in _keys.Names)
                _keys.Client.SendGet(key);
            for (var block = 0; block < _case.Batch; block++)
            {
                var length = _keys.Client.ReceiveValue(_buffers.Target.Slice(block * _case.Bytes, _case.BlockLength));
                if (length != _case.Bytes)
                    throw new IOException($"Redis returned {length:N0} bytes; {_case.Bytes:N0} were stored.");
            }
        }
    }

    public void Dispose() => _keys.Dispose();
}

/// <summary>SET over existing keys; the requests of a batch are pipelined.</summary>
internal sealed class RedisSetLane(EndPoint address, SocketTuning tuning, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    private readonly RedisKeys _keys = new(RespClient.Connect(address, tuning), transfer);

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
            _keys.SetAll(buffers);
    }

    public void Dispose() => _keys.Dispose();
}

/// <summary>The keys of one lane, deleted when it closes: the server of somebody else is left as it was.</summary>
internal sealed class RedisKeys(RespClient client, TransferCase transfer) : IDisposable
{
    public RespClient Client => client;

    public IReadOnlyList<string> Names { get; } = [.. Enumerable.Range(0, transfer.Batch).Select(i => $"kvcache-bench:{Guid.NewGuid():N}:{i}")];

    public void SetAll(LaneBuffers buffers)
    {
        for (var block = 0; block < transfer.Batch; block++)
            client.SendSet(Names[block], buffers.Source.Slice(block * transfer.Bytes, transfer.BlockLength));
        for (var block = 0; block < transfer.Batch; block++)
            client.ReceiveOk();
    }

    public void Dispose()
    {
        try
        {
            foreach (var name in Names)
            {
                client.SendDelete(name);
                client.ReceiveNumber();
            }
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException)
        {
            // A lane also closes because its server has gone.
        }
        client.Dispose();
    }
}
