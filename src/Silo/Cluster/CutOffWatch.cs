using System.Diagnostics;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Sets until when this silo lets its blocks be read: a silo that is cut off from others that live may have been declared dead by them, and
/// then deletions are confirmed that it does not hear of.
/// </summary>
/// <remarks>
/// <para>A silo knows that it was not declared dead when it has just read the list of members, or has just heard all the others; where
/// there are at least three silos, one may be silent, for the declaration needs two votes. Each of these is good for
/// <see cref="ClusterOptions.CutOffLimit"/>, and every silo waits so long after a death before it confirms a deletion.</para>
/// <para>The list is read only while somebody is silent. A silo without others has nobody to be cut off from.</para>
/// </remarks>
internal sealed partial class CutOffWatch(
    ClusterMembers members, BlockStore store, IMembershipTable table, IOptions<ClusterOptions> options, ILogger<CutOffWatch> logger)
    : ILoop
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan ReadLimit = TimeSpan.FromSeconds(1);

    // Others speak at least once a second.
    private static readonly TimeSpan Early = TimeSpan.FromSeconds(1.25);

    private long _listReadAt = Stopwatch.GetTimestamp();
    private Task _reading = Task.CompletedTask;
    private bool _told;

    /// <summary>Whether the silo is cut off now, in a sentence, or null.</summary>
    public string? Problem => store.Term.IsOver
        ? "This silo hears neither the other silos nor the list of members; it serves nothing until it does"
        : null;

    public async Task RunAsync(CancellationToken stoppingToken)
    {
        if (options.Value.Mode == ClusterMode.None)
            return;
        using var timer = new PeriodicTimer(Tick);
        while (await timer.WaitForNextTickAsync(stoppingToken))
            Look(stoppingToken);
    }

    /// <summary>When the others' last words prove that this silo was not declared dead.</summary>
    /// <param name="provenAt">For each of them, when it was asked what it has answered.</param>
    internal static long ProofOf(IEnumerable<long> provenAt)
    {
        var times = provenAt.Order().ToArray();
        return times[times.Length > 1 ? 1 : 0];
    }

    private void Look(CancellationToken stoppingToken)
    {
        var peers = members.Peers;
        if (peers.IsEmpty)
        {
            store.Term.HasNoEnd();
            return;
        }

        var heard = ProofOf(peers.Select(peer => peer.ProvenAt));
        store.Term.EndsAfter(Math.Max(heard, Volatile.Read(ref _listReadAt)), options.Value.CutOffLimit);
        if (Stopwatch.GetElapsedTime(peers.Min(peer => peer.ProvenAt)) > Early && _reading.IsCompleted)
            _reading = ReadListAsync(stoppingToken);
        if (store.Term.IsOver != _told)
        {
            _told = !_told;
            if (_told)
                LogCutOff(options.Value.CutOffLimit.TotalSeconds);
            else
                LogBack();
        }
    }

    private async Task ReadListAsync(CancellationToken stoppingToken)
    {
        var began = Stopwatch.GetTimestamp();
        try
        {
            var list = await table.ReadAllAsync(stoppingToken).WaitAsync(ReadLimit, stoppingToken).ConfigureAwait(false);
            if (list.Members.Any(member => member.Item1.SiloAddress.Equals(members.Local) && member.Item1.Status == SiloStatus.Active))
                Volatile.Write(ref _listReadAt, began);
        }
        catch (Exception e)
        {
            LogUnread(e.Message);
        }
    }

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "Neither the other silos nor the list of members were heard for {Seconds} s: this silo serves nothing until they are")]
    private partial void LogCutOff(double seconds);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The other silos, or the list of members, are heard again: this silo serves")]
    private partial void LogBack();

    [LoggerMessage(Level = LogLevel.Debug, Message = "The list of members could not be read: {Reason}")]
    private partial void LogUnread(string reason);
}
