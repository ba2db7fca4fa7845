using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Redis;

/// <summary><c>redis.get</c> and <c>redis.set</c> with the best socket settings of the client's end.</summary>
internal static class RedisContenders
{
    public static IEnumerable<ITransferContender> Create(RawTransport transport, EndPoint address, Action<string> log, CancellationToken cancellation)
    {
        // A value per setting has to fit into the server; buffers beyond 1 MiB gained nothing at one end alone.
        var settings = SocketTuning.Candidates(transport).Where(tuning => tuning.BufferBytes <= 1 << 20).ToList();
        var suffix = transport is RawTransport.Unix ? ".unix" : "";
        yield return Tuned($"redis.get{suffix}", settings.Where(tuning => !tuning.Reno), (tuning, transfer, lane) => new RedisGetLane(address, tuning, transfer, lane));
        yield return Tuned($"redis.set{suffix}", settings, (tuning, transfer, lane) => new RedisSetLane(address, tuning, transfer, lane));

        TunedContender Tuned(string name, IEnumerable<SocketTuning> candidates, Func<SocketTuning, TransferCase, LaneBuffers, ITransferLane> open) =>
            new(name, [], [.. candidates.Select(tuning => (tuning.ToString(), (ITransferContender)new TransferContender(name, [], (transfer, lane) => open(tuning, transfer, lane))))], log, cancellation);
    }
}
