using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Redis;

/// <summary><c>redis.get</c> and <c>redis.set</c> with the best socket settings of the client's end.</summary>
internal static class RedisContenders
{
    /// <param name="transport">Transport to the server.</param>
    /// <param name="address">The server.</param>
    /// <param name="turns">
    /// Requests that take turns, each with keys and memory of its own: as many as what is compared has under way, as one block that is moved
    /// again and again stays in the processor's cache.
    /// </param>
    /// <param name="log">Receives the settings that were chosen.</param>
    /// <param name="cancellation">Ends the choice.</param>
    public static IEnumerable<ITransferContender> Create(RawTransport transport, EndPoint address, int turns, Action<string> log, CancellationToken cancellation)
    {
        // A value per setting has to fit into the server; buffers beyond 1 MiB gained nothing at one end alone.
        var settings = SocketTuning.Candidates(transport).Where(tuning => tuning.BufferBytes <= 1 << 20).ToList();
        var suffix = transport is RawTransport.Unix ? ".unix" : "";
        yield return Tuned($"redis.get{suffix}", settings.Where(tuning => !tuning.Reno), (tuning, transfer, lane) => new RedisGetLane(address, tuning, transfer, lane, turns));
        yield return Tuned($"redis.set{suffix}", settings, (tuning, transfer, lane) => new RedisSetLane(address, tuning, transfer, lane, turns));

        TunedContender Tuned(string name, IEnumerable<SocketTuning> candidates, Func<SocketTuning, TransferCase, LaneBuffers, ITransferLane> open) =>
            new(name, [], [.. candidates.Select(tuning => (tuning.ToString(), (ITransferContender)new TransferContender(name, [], (transfer, lane) => open(tuning, transfer, lane))))], log, cancellation);
    }
}
