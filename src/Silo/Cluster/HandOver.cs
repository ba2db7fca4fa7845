using System.Diagnostics;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// What a silo does that is about to leave: it says so, so that nobody places anything here any more, and gives blocks that it alone has to
/// the silos that stay, the most recently used first, until all are given, nobody has free memory, or the time is over: for what is given
/// nothing has to go there. It serves meanwhile.
/// </summary>
internal sealed partial class HandOver(
    BlockStore store,
    BlockDirectory directory,
    ClusterMembers members,
    ISiloAgents agents,
    IOptions<ClusterOptions> options,
    ILogger<HandOver> logger)
{
    private const int MaxBlocks = 32;
    private const long MaxBytes = 16L << 20;
    private const int AtOnce = 4;

    // What is stored here meanwhile goes in a further pass.
    private const int Passes = 3;

    private static readonly TimeSpan TellLimit = TimeSpan.FromSeconds(1);

    /// <summary>Hands over for at most <see cref="ClusterOptions.HandOverTimeout"/>.</summary>
    public async Task RunAsync()
    {
        members.IsLeaving = true; // clients hear of it with their next answer
        var limit = options.Value.HandOverTimeout;
        if (limit <= TimeSpan.Zero || members.Peers.Length == 0)
            return;
        using var over = new CancellationTokenSource(limit);
        var began = Stopwatch.GetTimestamp();
        var room = await TellAsync();
        var given = 0;
        var left = Alone();
        for (var pass = 0; pass < Passes && left.Count > 0 && !over.IsCancellationRequested; pass++)
        {
            var now = await GiveAsync(left, room, over.Token);
            given += now;
            left = Alone();
            if (now == 0)
                break;
        }

        LogDone(given, Stopwatch.GetElapsedTime(began).TotalSeconds, left.Count);
    }

    // Says goodbye to everybody, and learns who has how much room.
    private async Task<Dictionary<PeerSilo, long>> TellAsync()
    {
        var answers = await Task.WhenAll(members.Holders(members.StayingMask).Select(async peer =>
        {
            try
            {
                var free = await agents.Of(peer.Address).LeavingAsync(members.Local).AsTask().WaitAsync(TellLimit);
                return KeyValuePair.Create(peer, free);
            }
            catch (Exception e) when (LostCalls.IsLost(e))
            {
                LogUntold(peer.Address.ToString(), e.Message);
                return KeyValuePair.Create(peer, 0L);
            }
        }));
        return answers.ToDictionary();
    }

    // Blocks that are nowhere else, hottest first.
    private List<(BlockKey Key, long Bytes)> Alone()
    {
        var others = members.StayingMask;
        return [.. store.ByLastUse().Where(block => (directory.Index.HoldersOf(block.Key) & others) == 0)];
    }

    private async Task<int> GiveAsync(
        List<(BlockKey Key, long Bytes)> blocks, Dictionary<PeerSilo, long> room, CancellationToken over)
    {
        var batches = Batches(blocks, room);
        var given = 0;
        await Parallel.ForEachAsync(
            batches, new ParallelOptions { MaxDegreeOfParallelism = AtOnce }, async (batch, _) =>
        {
            if (!over.IsCancellationRequested)
                Interlocked.Add(ref given, await CopyAsync(batch.To, batch.Keys, over));
        });
        return given;
    }

    // Blocks that were used one after the other are those of a chain, mostly: they stay together.
    private static List<(PeerSilo To, BlockKey[] Keys)> Batches(
        List<(BlockKey Key, long Bytes)> blocks, Dictionary<PeerSilo, long> room)
    {
        var batches = new List<(PeerSilo To, BlockKey[] Keys)>();
        for (var start = 0; start < blocks.Count;)
        {
            var (end, bytes) = (start, 0L);
            while (end < blocks.Count && end - start < MaxBlocks && (end == start || bytes + blocks[end].Bytes <= MaxBytes))
                bytes += blocks[end++].Bytes;
            var (to, free) = room.MaxBy(peer => peer.Value);
            if (to is null || free < bytes)
                break;
            room[to] -= bytes;
            batches.Add((to, [.. blocks[start..end].Select(block => block.Key)]));
            start = end;
        }

        return batches;
    }

    private async Task<int> CopyAsync(PeerSilo to, BlockKey[] keys, CancellationToken over)
    {
        try
        {
            return await agents.Of(to.Address).CopyAsync(keys, members.Local).AsTask()
                .WaitAsync(options.Value.FetchTimeout + options.Value.AskTimeout, over);
        }
        catch (Exception e) when (LostCalls.IsLost(e, CancellationToken.None)) // the end of its own time too
        {
            LogFailed(to.Address.ToString(), keys.Length, e.Message);
            return 0;
        }
    }

    [LoggerMessage(
        Level = LogLevel.Information, Message = "{Blocks} blocks were handed over within {Seconds:0.0} s; {Left} are only here and go")]
    private partial void LogDone(int blocks, double seconds, int left);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} was not told that this one leaves: {Reason}")]
    private partial void LogUntold(string silo, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Silo {Silo} did not take over {Blocks} blocks: {Reason}")]
    private partial void LogFailed(string silo, int blocks, string reason);
}
