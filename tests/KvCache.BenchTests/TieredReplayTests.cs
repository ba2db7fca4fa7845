using KvCache.Bench.Disk;
using KvCache.Bench.Simulation;
using KvCache.Benchmarks;
using KvCache.Eviction;
using KvCache.Testing;

namespace KvCache.BenchTests;

/// <summary>Replays through real blocks and files agree with the simulation where that says something, and a disk adds what has no room in
/// memory.</summary>
public sealed class TieredReplayTests : IDisposable
{
    private const int Arena = 64, BlockBytes = 4096;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvcache-replay-").FullName;
    private readonly SimulatedTrace _trace = SimulatedTrace.Of(Workload.Make("agents", 200, seed: 1));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Without_a_disk_a_replay_hits_what_the_simulation_hits()
    {
        using var replay = Replay(disk: 0);
        using var store = new StoreCache(Arena, EvictionPolicies.Default, hints: true);
        Assert.Equal(_trace.Requests.Sum(store.Serve), replay.MemoryHits);
        Assert.True(replay.MemoryHits > 0);
        Assert.Equal((0, 0), (replay.DiskHits, replay.WrittenBytes));
    }

    [Fact]
    public void With_a_disk_that_holds_all_nearly_all_is_hit_that_was_seen_before()
    {
        using var replay = Replay(disk: _trace.Blocks);
        var most = OfflineOptimum.Hits(_trace, _trace.Blocks, default);
        Report.Line($"{replay.MemoryHits} hits in memory, {replay.DiskHits} on the disk, {most} blocks were seen before.");
        Assert.InRange(replay.MemoryHits + replay.DiskHits, 0.9 * most, most);
        Assert.True(replay.DiskHits > 0);
    }

    private TieredReplay Replay(int disk)
    {
        var replay = new TieredReplay(_folder, BlockBytes, Arena, disk, _trace.Requests[0].TokensPerBlock, hints: true);
        foreach (var request in _trace.Requests)
            replay.Serve(request);
        return replay;
    }
}
