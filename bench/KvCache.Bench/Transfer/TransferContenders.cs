using System.Net;
using KvCache.Bench.Raw;
using KvCache.Bench.Redis;
using KvCache.Bench.Silos;

namespace KvCache.Bench.Transfer;

/// <summary>Everyone who takes part in <c>transfer</c>, and the servers that they need.</summary>
internal sealed class TransferContenders : IDisposable
{
    // Of SET: far more than any cache of a processor holds, and not so much that filling it anew for every setting takes minutes.
    private const long KeptBytes = 256 << 20;

    private readonly List<IDisposable> _servers = [];
    private readonly List<ITransferContender> _all = [];
    private readonly Action<string> _log;
    private RawServerProcess? _raw;
    private readonly CancellationToken _cancellation;

    private TransferContenders(BenchSilo silo, Action<string> log, CancellationToken cancellation)
    {
        Silo = silo;
        _servers.Add(silo);
        _log = log;
        _cancellation = cancellation;
    }

    public IReadOnlyList<ITransferContender> All => _all;

    /// <summary>The silo, which shares its memory.</summary>
    public BenchSilo Silo { get; }

    /// <param name="largestRequests">Bytes of the largest requests of all lanes of any case, together.</param>
    /// <param name="redis">A running Redis, or null to start one where it is installed.</param>
    /// <param name="withChecksum">Whether the raw loop also runs with a CRC-32 over what it receives.</param>
    public static TransferContenders Start(
        long largestRequests, EndPoint? redis, bool withChecksum, Action<string> log, CancellationToken cancellation)
    {
        // Room for pinned blocks of every lane and for the blocks that puts leave behind.
        var memory = Math.Max(1L << 30, 16 * largestRequests);
        var contenders = new TransferContenders(BenchSilo.Start(new ByteSize(memory), cancellation), log, cancellation);
        try
        {
            contenders._all.Add(new TransferContender("memcpy", [], (transfer, lane) => new MemcpyLane(transfer, lane)));
            contenders.AddSilo();
            contenders.AddRaw(memory, withChecksum);
            contenders.AddTls(memory);
            contenders.AddRedis(redis);
            return contenders;
        }
        catch
        {
            contenders.Dispose();
            throw;
        }
    }

    public void Dispose() => _servers.ForEach(server => server.Dispose());

    private void AddSilo()
    {
        foreach (var (
            name, read) in new[] { ("memcpy.arena", SharedRead.CopyOnly), ("get.shm", SharedRead.Kept),
            ("get.shm.verified", SharedRead.Verified), ("get.shm.asked", SharedRead.Asked) })
        {
            string[] yardsticks = read == SharedRead.CopyOnly ? [] : ["memcpy.arena", "redis.get"];
            _all.Add(new TransferContender(name, yardsticks, (transfer, lane) => new SharedGetLane(Silo, transfer, lane, read)));
        }

        _all.Add(new TransferContender(
            "put.shm", ["raw.put.unix", "redis.set"], (transfer, lane) => new SharedPutLane(Silo, transfer, lane)));
        foreach (var transport in new[] { "tcp", "unix" })
        {
            var redis = transport == "tcp" ? "" : ".unix";
            _all.Add(new TransferContender(
                $"get.{transport}", [$"raw.get.{transport}", $"redis.get{redis}"], (transfer, lane) =>
                new SiloGetLane(Silo, transport, transfer, lane)));
            _all.Add(new TransferContender(
                $"put.{transport}", [$"raw.put.{transport}", $"redis.set{redis}"], (transfer, lane) =>
                new SiloPutLane(Silo, transport, transfer, lane)));
        }
    }

    private void AddRaw(long memory, bool withChecksum)
    {
        var server = _raw = RawServerProcess.Start(memory);
        _servers.Add(server);
        foreach (var (transport, suffix) in new[] { (RawTransport.Tcp, "tcp"), (RawTransport.Unix, "unix") })
        {
            var settings = SocketTuning.Candidates(transport).ToList();
            string[] getsOfOthers = transport is RawTransport.Tcp ? ["iperf3", "redis.get"] : ["redis.get.unix"];
            string[] putsOfOthers = transport is RawTransport.Tcp ? ["redis.set"] : ["redis.set.unix"];
            AddTuned($"raw.get.{suffix}", getsOfOthers, settings,
                (tuning, transfer, lane) => new RawGetLane(server.Connect(transport, tuning), transfer, lane));
            AddTuned($"raw.put.{suffix}", putsOfOthers, settings,
                (tuning, transfer, lane) => new RawPutLane(server.Connect(transport, tuning), transfer, lane));
            if (withChecksum)
                AddTuned($"raw.get.crc.{suffix}", [$"raw.get.{suffix}"], settings,
                    (tuning, transfer, lane) => new RawCheckedGetLane(server.Connect(transport, tuning), transfer, lane));
        }
    }

    // Beside the plain one: a silo's port speaks the one or the other.
    private void AddTls(long memory)
    {
        var silo = BenchSilo.Start(new ByteSize(memory), _cancellation, withTls: true);
        _servers.Add(silo);
        var raw = _raw!;
        _all.Add(new TransferContender("get.tls", ["raw.get.tls"], (transfer, lane) => new SiloGetLane(silo, "tls", transfer, lane)));
        _all.Add(new TransferContender("put.tls", ["raw.put.tls"], (transfer, lane) => new SiloPutLane(silo, "tls", transfer, lane)));
        _all.Add(new TransferContender("raw.get.tls", [], (transfer, lane) => new RawTlsGetLane(raw.ConnectTls(), transfer, lane)));
        _all.Add(new TransferContender("raw.put.tls", [], (transfer, lane) => new RawTlsPutLane(raw.ConnectTls(), transfer, lane)));
    }

    private void AddRedis(EndPoint? running)
    {
        if (ComparedRedis.TryOpen(running) is not { } redis)
        {
            _log($"SKIPPED: rows of Redis; {ComparedRedis.Missing}");
            return;
        }

        _servers.Add(redis);
        foreach (var (transport, address) in redis.Ways)
            _all.AddRange(RedisContenders.Create(transport, address, turns: 1, _log, _cancellation, keptBytes: KeptBytes));
    }

    private void AddTuned(
        string name,
        IReadOnlyList<string> comparedWith,
        IReadOnlyList<SocketTuning> settings,
        Func<SocketTuning, TransferCase, LaneBuffers, ITransferLane> open)
    {
        var variants = settings.Select(tuning => (
            tuning.ToString(),
            (ITransferContender)new TransferContender(name, comparedWith, (transfer, lane) => open(tuning, transfer, lane)))).ToList();
        _all.Add(new TunedContender(name, comparedWith, variants, _log, _cancellation));
    }
}
