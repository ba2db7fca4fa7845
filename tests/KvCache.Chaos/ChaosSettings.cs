using KvCache.Chaos.Faults;
using KvCache.Chaos.Load;

namespace KvCache.Chaos;

/// <summary>What a run does.</summary>
internal sealed record ChaosSettings
{
    /// <summary>What everything random derives from.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Silos of the cluster, 2 to 8.</summary>
    public int Silos { get; init; } = 3;

    /// <summary>Faults, by name.</summary>
    public IReadOnlyList<string> Faults { get; init; } = FaultCatalogue.Names;

    /// <summary>How long rounds of all faults are begun; zero for one round.</summary>
    public TimeSpan Duration { get; init; }

    /// <summary>Rounds go on until so many blocks were read and compared.</summary>
    public long LeastReads { get; init; }

    /// <summary>Size of each arena.</summary>
    public ByteSize Arena { get; init; } = ByteSize.Parse("64MiB");

    /// <summary>Whether silos get network namespaces where that can be.</summary>
    public bool UseNamespaces { get; init; } = true;

    /// <summary>Where the silos' logs are kept; null for nowhere.</summary>
    public DirectoryInfo? Logs { get; init; }

    /// <summary>How hard the silos are worked.</summary>
    public WorkloadSettings Load { get; init; } = new(Pace: TimeSpan.FromMilliseconds(1));

    /// <summary>Time at rest before and behind a fault.</summary>
    public TimeSpan Rest { get; init; } = TimeSpan.FromSeconds(2);
}
