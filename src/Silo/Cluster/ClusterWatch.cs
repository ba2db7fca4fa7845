using KvCache.Caching;
using KvCache.Engine.Index;
using KvCache.Engine.Wire;
using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Turns Orleans' membership into links: a silo that is active is followed, one that leaves or is dead is forgotten with its blocks.
/// </summary>
internal sealed partial class ClusterWatch(
    IClusterMembershipService membership,
    ClusterMembers members,
    ISiloAgents agents,
    Replicator replicator,
    IOptions<ClusterOptions> options,
    ILoggerFactory loggers)
    : ILoop
{
    private readonly ILogger<ClusterWatch> _logger = loggers.CreateLogger<ClusterWatch>();
    private readonly Dictionary<SiloAddress, PeerLink> _links = [];

    public async Task RunAsync(CancellationToken stoppingToken)
    {
        try
        {
            await foreach (var snapshot in membership.MembershipUpdates.WithCancellation(stoppingToken))
                Apply(snapshot);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
        finally
        {
            foreach (var link in _links.Values)
            {
                link.Dispose();
                if (!stoppingToken.IsCancellationRequested)
                    members.Remove(link.Peer); // the next run begins with everybody
            }

            _links.Clear();
        }
    }

    private void Apply(ClusterMembershipSnapshot snapshot)
    {
        var changed = false;
        foreach (var silo in _links.Keys.Where(
            silo => snapshot.GetSiloStatus(silo) is not (SiloStatus.Active or SiloStatus.Joining or SiloStatus.Created)).ToArray())
        {
            _links.Remove(silo, out var link);
            link!.Dispose();
            LogLeft(silo.ToString(), members.Remove(link.Peer, IsSilent(silo, snapshot)), snapshot.GetSiloStatus(silo));
            changed = true;
        }

        foreach (var member in snapshot.Members.Values)
        {
            if (member.Status != SiloStatus.Active || member.SiloAddress.Equals(members.Local) || _links.ContainsKey(member.SiloAddress))
                continue;
            if (members.Add(member.SiloAddress) is not { } peer)
            {
                LogTooMany(PrefixIndex.MaxHolders - 1, member.SiloAddress.ToString());
                continue;
            }

            var link = new PeerLink(peer, Describe, loggers.CreateLogger<PeerLink>());
            _links.Add(member.SiloAddress, link);
            link.Start();
            changed = true;
        }

        if (changed)
            replicator.Repair();
    }

    // Who says itself that it leaves has stopped to serve before, and two processes cannot have the same port.
    private static bool IsSilent(SiloAddress silo, ClusterMembershipSnapshot snapshot) =>
        snapshot.GetSiloStatus(silo) is SiloStatus.ShuttingDown or SiloStatus.Stopping
        || snapshot.Members.Keys.Any(other => other.Endpoint.Equals(silo.Endpoint) && other.Generation > silo.Generation);

    private string[] Describe(PeerSilo peer, CancellationToken cancellationToken)
    {
        var card = agents.Of(peer.Address).DescribeAsync().AsTask().WaitAsync(options.Value.AskTimeout, cancellationToken).GetAwaiter()
            .GetResult();
        return WireProtocol.Common(card.OldestWire, card.Wire) > 0
            ? card.Endpoints
            : throw new SiloException(
                WireStatus.VersionMismatch, WireProtocol.Mismatch($"Silo {peer.Address}", card.OldestWire, card.Wire));
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Silo {Silo} with {Blocks} blocks has left ({Status})")]
    private partial void LogLeft(string silo, int blocks, SiloStatus status);

    [LoggerMessage(
        Level = LogLevel.Error, Message = "The index follows at most {Silos} silos; the blocks of {Silo} are not found from here")]
    private partial void LogTooMany(int silos, string silo);
}
