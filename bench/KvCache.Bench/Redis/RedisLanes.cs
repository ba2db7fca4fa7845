using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Redis;

/// <summary>GET of existing keys; the requests of a batch are pipelined.</summary>
internal sealed class RedisGetLane : ITransferLane
{
    private readonly RedisKeys _keys;
    private int _turn;
    private readonly TransferCase _case;
    private readonly LaneBuffers _buffers;

    public RedisGetLane(EndPoint address, SocketTuning tuning, TransferCase transfer, LaneBuffers buffers, int turns)
    {
        (_case, _buffers) = (transfer, buffers);
        _keys = new RedisKeys(RespClient.Connect(address, tuning), transfer, turns, turns);
        for (var turn = 0; turn < turns; turn++)
            _keys.Set(turn, buffers);
    }

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            _turn = (_turn + 1) % _keys.Turns;
            for (var block = 0; block < _case.Batch; block++)
                _keys.Client.SendGet(_keys.Name(_turn, block));
            for (var block = 0; block < _case.Batch; block++)
            {
                var length = _keys.Client.ReceiveValue(
                    _buffers.Target.Slice((_turn * _case.RequestBytes) + (block * _case.Bytes), _case.BlockLength));
                if (length != _case.Bytes)
                    throw new IOException($"Redis returned {length:N0} bytes; {_case.Bytes:N0} were stored.");
            }
        }
    }

    public void Dispose() => _keys.Dispose();
}

/// <summary>SET over existing keys; the requests of a batch are pipelined.</summary>
internal sealed class RedisSetLane : ITransferLane
{
    private readonly RedisKeys _keys;
    private readonly LaneBuffers _buffers;
    private int _turn;

    public RedisSetLane(EndPoint address, SocketTuning tuning, TransferCase transfer, LaneBuffers buffers, int turns, long keptBytes)
    {
        _buffers = buffers;
        _keys = new RedisKeys(
            RespClient.Connect(address, tuning), transfer, turns,
            (int)Math.Max(turns, keptBytes / transfer.Connections / transfer.RequestBytes));
        Run(_keys.Kept); // the first time, Redis gets its memory from the kernel
    }

    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            _turn = (_turn + 1) % _keys.Kept;
            _keys.Set(_turn, _buffers);
        }
    }

    public void Dispose() => _keys.Dispose();
}

/// <summary>The keys of one lane, deleted when it closes: the server of somebody else is left as it was.</summary>
/// <param name="client">A connection of the lane's own.</param>
/// <param name="transfer">The case.</param>
/// <param name="turns">Requests with memory of their own in the lane's buffers.</param>
/// <param name="kept">Requests with keys of their own.</param>
internal sealed class RedisKeys(RespClient client, TransferCase transfer, int turns, int kept) : IDisposable
{
    private readonly string[] _names = [.. Enumerable.Range(0, kept * transfer.Batch).Select(i => $"kvcache-bench:{Guid.NewGuid():N}:{i}")];

    public RespClient Client => client;

    public int Turns => turns;

    public int Kept => kept;

    public string Name(int turn, int block) => _names[(turn * transfer.Batch) + block];

    public void Set(int turn, LaneBuffers buffers)
    {
        for (var block = 0; block < transfer.Batch; block++)
            client.SendSet(
                Name(turn, block),
                buffers.Source.Slice((turn % turns * transfer.RequestBytes) + (block * transfer.Bytes), transfer.BlockLength));
        for (var block = 0; block < transfer.Batch; block++)
            client.ReceiveOk();
    }

    public void Dispose()
    {
        try
        {
            foreach (var name in _names)
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
