using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Redis;

/// <summary>GET and SET of a server that speaks Redis' protocol, with the best socket settings of the client's end.</summary>
internal static class RedisContenders
{
    /// <param name="transport">How the server is reached.</param>
    /// <param name="address">Where it listens.</param>
    /// <param name="turns">
    /// Requests that take turns, each with keys and memory of its own: as many as what is compared has under way, as one block that is
    /// moved again and again stays in the processor's cache.
    /// </param>
    /// <param name="log">Receives the settings that were found best.</param>
    /// <param name="cancellation">Ends the search for the best settings.</param>
    /// <param name="server">Front part of the row names.</param>
    /// <param name="yardstick">Front part of the names of the rows that these are divided by; null for none.</param>
    /// <param name="keptBytes">
    /// Memory that the keys of all lanes of <c>set</c> may fill: like a cache, which keeps what it is given, it then writes each value
    /// somewhere else. 0 for one key
    /// a turn.
    /// </param>
    public static IEnumerable<ITransferContender> Create(
        RawTransport transport, EndPoint address, int turns, Action<string> log, CancellationToken cancellation, string server = "redis",
            string? yardstick = null, long keptBytes = 0)
    {
        // A value per setting has to fit into the server; buffers beyond 1 MiB gained nothing at one end alone.
        var settings = SocketTuning.Candidates(transport).Where(tuning => tuning.BufferBytes <= 1 << 20).ToList();
        var suffix = transport is RawTransport.Unix ? ".unix" : "";
        yield return Tuned(
            "get", settings.Where(tuning => !tuning.Reno), (tuning, transfer, lane) =>
            new RedisGetLane(address, tuning, transfer, lane, turns));
        yield return Tuned(
            "set", settings, (tuning, transfer, lane) => new RedisSetLane(address, tuning, transfer, lane, turns, keptBytes));

        TunedContender Tuned(
            string operation, IEnumerable<SocketTuning> candidates, Func<SocketTuning, TransferCase, LaneBuffers, ITransferLane> open)
        {
            var name = $"{server}.{operation}{suffix}";
            string[] others = yardstick is null ? [] : [$"{yardstick}.{operation}{suffix}"];
            return new TunedContender(
                name, others,
                [.. candidates.Select(
                tuning => (tuning.ToString(),
                (ITransferContender)new TransferContender(name, [], (transfer, lane) => open(tuning, transfer, lane))))], log,
                cancellation);
        }
    }
}
