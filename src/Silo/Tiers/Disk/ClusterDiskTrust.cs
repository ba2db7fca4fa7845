using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>
/// Trust in a cluster: blocks may live when somebody was there all the while who has told what was deleted. A silo takes over what others
/// know with its first full copy of their blocks; who is asked later knows it too.
/// </summary>
/// <remarks>
/// A silo remembers each deletion for <see cref="Tombstones.DefaultLifetime"/>, and after that, for each tenant, only that there were
/// some. So a short absence costs nothing, and a long one the blocks of the tenants that have deleted something meanwhile. Where nobody was
/// there all the while, all blocks of before go.
/// </remarks>
internal sealed class ClusterDiskTrust(
    IClusterMembershipService membership, ClusterMembers members, BlockDirectory directory, BlockStore store, TimeProvider time,
    IOptions<DiskOptions> options)
    : IDiskTrust
{
    // A deletion is on its way to all silos for less than this; so long ago this one had heard what it has heard.
    private static readonly TimeSpan Underway = TimeSpan.FromMinutes(1);

    private readonly Queue<(long At, ulong Clock)> _clocks = [];
    private ulong _heard;
    private long? _activeSince;

    /// <inheritdoc/>
    public bool? IsAlone => !IsActive ? null : membership.CurrentSnapshot.Members.Values.All(
        member => member.SiloAddress.Equals(members.Local) || member.Status != SiloStatus.Active);

    /// <inheritdoc/>
    public ulong Heard
    {
        get
        {
            if (store.Term.IsOver || !IsActive || members.Reachable < members.Peers.Length)
                return _heard;
            var now = time.GetTimestamp();
            _clocks.Enqueue((now, store.Clock));
            while (_clocks.TryPeek(out var oldest) && time.GetElapsedTime(oldest.At, now) >= Underway)
                _heard = _clocks.Dequeue().Clock;
            return _heard;
        }
    }

    /// <inheritdoc/>
    public int Run => members.Local.Generation;

    private bool IsActive => membership.CurrentSnapshot.GetSiloStatus(members.Local) == SiloStatus.Active;

    /// <inheritdoc/>
    public ulong? KnownSince(DiskManifest manifest)
    {
        if (!IsActive)
            return null;
        _activeSince ??= time.GetTimestamp();
        if (IsAlone == true && manifest.IsAlone && !WasThereAnother(manifest))
            return 0;
        var known = directory.Tombstones.KnownSince;
        return known <= manifest.Heard || time.GetElapsedTime(_activeSince.Value) >= options.Value.TrustTimeout ? known : null;
    }

    // Another silo that began behind this one's last run may have been there when nobody else was.
    private bool WasThereAnother(DiskManifest manifest) => membership.CurrentSnapshot.Members.Keys.Any(
        silo => !silo.Equals(members.Local) && silo.Generation > manifest.Run && !IsOwnEarlier(silo));

    private bool IsOwnEarlier(SiloAddress silo) => silo.Endpoint.Equals(members.Local.Endpoint);
}
