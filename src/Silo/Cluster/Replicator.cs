using System.Numerics;
using System.Threading.Channels;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Keeps as many copies of a block as its writer asked for: right behind the store, and again after a silo was lost. Bounded; what does not
/// fit is dropped and counted.
/// </summary>
internal sealed partial class Replicator(
    BlockStore store,
    BlockDirectory directory,
    ClusterMembers members,
    ISiloAgents agents,
    ClusterCounters counters,
    IOptions<ClusterOptions> options,
    ILogger<Replicator> logger)
    : ILoop
{
    private const int MaxQueued = 65_536;
    private const int MaxBatch = 32;
    private static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(100);
    private const int MaxTries = 20;
    private const int MaxChoices = 4096;

    // Where the blocks went that were copied last; only RunAsync touches it.
    private readonly Dictionary<BlockKey, PeerSilo> _choices = [];
    private readonly Channel<Wanted> _queue = Channel.CreateBounded<Wanted>(new BoundedChannelOptions(MaxQueued) { SingleReader = true });

    /// <summary>A block of this silo may have too few copies.</summary>
    public void Want(BlockKey key)
    {
        if (!_queue.Writer.TryWrite(new Wanted(key, 0)))
            counters.CopyDropped();
    }

    /// <summary>A silo was lost. Of the silos that have a block, one looks after its copies: the one with the smallest address.</summary>
    public void Repair()
    {
        var keys = new List<BlockKey>();
        store.CollectCopied(keys);
        var wanted = 0;
        foreach (var key in keys)
        {
            if (!members.Holders(directory.Index.HoldersOf(key)).TrueForAll(peer => peer.Address.CompareTo(members.Local) > 0))
                continue;
            Want(key);
            wanted++;
        }

        if (wanted > 0)
            LogRepair(wanted);
    }

    public async Task RunAsync(CancellationToken stoppingToken)
    {
        var batch = new List<Wanted>();
        while (await _queue.Reader.WaitToReadAsync(stoppingToken))
        {
            batch.Clear();
            while (batch.Count < MaxBatch && _queue.Reader.TryRead(out var wanted))
                batch.Add(wanted);
            foreach (var group in batch.Where(wanted => MissingCopies(wanted.Key) > 0).GroupBy(Target).ToList())
            {
                if (group.Key is null
                    || !await CopyAsync(
                    group.Key, [.. group.Select(wanted => wanted.Key).Where(key => MissingCopies(key) > 0)], stoppingToken))
                    await RetryAsync(group.Where(wanted => MissingCopies(wanted.Key) > 0), stoppingToken);
                else
                    group.Where(wanted => MissingCopies(wanted.Key) > 1).ToList().ForEach(wanted => Want(wanted.Key));
            }
        }
    }

    /// <summary>How many silos are wanting for a block of this silo.</summary>
    internal int MissingCopies(BlockKey key) => store.WantedCopies(key) - BitOperations.PopCount(HoldersOf(key));

    private ulong HoldersOf(BlockKey key) => directory.Index.HoldersOf(key) & members.LiveMask & ~(1UL << PrefixIndex.RedisHolder);

    /// <summary>A silo that is to take a copy.</summary>
    internal PeerSilo? Target(BlockKey key) => Target(new Wanted(key, 0));

    // Copies of a chain belong together, for a reader takes a prefix from one silo: a block follows the one before it, unless it was
    // refused there.
    private PeerSilo? Target(Wanted wanted)
    {
        var holders = directory.Index.HoldersOf(wanted.Key);
        PeerSilo? target = null;
        if (wanted.Tries == 0 && store.ParentOf(wanted.Key) is { IsZero: false } hash)
        {
            var parent = wanted.Key with { Hash = hash };
            target = _choices.GetValueOrDefault(parent) is { } chosen && (chosen.Bit & holders) == 0
                && chosen.IsReachable(options.Value.SilenceLimit)
                ? chosen
                : members.Holders(directory.Index.HoldersOf(parent) & ~holders).FirstOrDefault();
        }

        target ??= members.BetterOfTwo(0, holders);
        if (_choices.Count >= MaxChoices)
            _choices.Clear();
        if (target is not null)
            _choices[wanted.Key] = target;
        return target;
    }

    private async Task<bool> CopyAsync(PeerSilo target, BlockKey[] keys, CancellationToken cancellationToken)
    {
        if (keys.Length == 0)
            return true;
        try
        {
            var copied = await agents.Of(target.Address).CopyAsync(keys, members.Local).AsTask()
                .WaitAsync(options.Value.FetchTimeout + options.Value.AskTimeout, cancellationToken);
            counters.CopyMade(copied);
            return copied == keys.Length;
        }
        catch (Exception e) when (LostCalls.IsLost(e, cancellationToken))
        {
            LogFailed(target.Address.ToString(), keys.Length, e.Message);
            return false;
        }
    }

    private async Task RetryAsync(IEnumerable<Wanted> missing, CancellationToken cancellationToken)
    {
        var again = missing.ToList();
        if (again.Count == 0)
            return;
        await Task.Delay(RetryPause, cancellationToken);
        foreach (var wanted in again)
        {
            if (wanted.Tries + 1 >= MaxTries || !_queue.Writer.TryWrite(wanted with { Tries = wanted.Tries + 1 }))
                counters.CopyDropped();
        }
    }

    private readonly record struct Wanted(BlockKey Key, int Tries);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Blocks} blocks may have lost copies; making new ones")]
    private partial void LogRepair(int blocks);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} did not take copies of {Blocks} blocks: {Reason}")]
    private partial void LogFailed(string silo, int blocks, string reason);
}
