namespace KvCache.Silo.Tiers.Disk;

/// <summary>Whether what a silo finds on its disk may be read: others may have deleted it while the silo was away.</summary>
internal interface IDiskTrust
{
    /// <summary>Whether there is no other silo in the cluster: nobody else can delete then. Null while nobody can say.</summary>
    bool? IsAlone { get; }

    /// <summary>Stamp up to which this silo has certainly heard of all deletions; 0 while nobody can say.</summary>
    ulong Heard { get; }

    /// <summary>Number of this run of the silo in its cluster; later ones are larger.</summary>
    int Run { get; }

    /// <summary>Says since when every deletion is known to this silo, or is among the forgotten ones: blocks of before, of which the last
    /// silo had not heard more, are not to be read.</summary>
    /// <param name="manifest">What the disk says of its last silo.</param>
    /// <returns>A stamp; null while nobody can say.</returns>
    ulong? KnownSince(DiskManifest manifest);
}

/// <summary>Trust of a silo without a cluster: what it has not deleted, nobody has.</summary>
internal sealed class LoneDiskTrust : IDiskTrust
{
    public bool? IsAlone => true;

    public ulong Heard => 0;

    public int Run => 0;

    public ulong? KnownSince(DiskManifest manifest) => manifest.IsAlone ? 0 : ulong.MaxValue;
}
