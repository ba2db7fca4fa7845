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

    /// <summary>Says which blocks may live, as soon as somebody knows.</summary>
    /// <param name="manifest">What the disk says of its last silo.</param>
    /// <returns>Whether a generation of a block may live; null while nobody knows.</returns>
    Func<BlockKey, ulong, bool>? Decide(DiskManifest manifest);
}

/// <summary>Trust of a silo without a cluster: what it has not deleted, nobody has.</summary>
internal sealed class LoneDiskTrust : IDiskTrust
{
    public bool? IsAlone => true;

    public ulong Heard => 0;

    public int Run => 0;

    public Func<BlockKey, ulong, bool>? Decide(DiskManifest manifest) => manifest.IsAlone ? (_, _) => true : (_, _) => false;
}
