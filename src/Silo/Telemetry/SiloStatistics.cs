using System.Text.Json.Serialization;
using KvCache.Engine.Storage;
using KvCache.Silo.Tiers.Disk;

namespace KvCache.Silo.Telemetry;

/// <summary>What a silo has and has done for all its tenants: for whoever runs it. A tenant is told its <see
/// cref="TenantStatistics"/>.</summary>
internal sealed record SiloStatistics
{
    public required BlockStoreStatistics Store { get; init; }

    public required long Hits { get; init; }

    public required long MissesAbsent { get; init; }

    public required long MissesCorrupt { get; init; }

    public required long Stored { get; init; }

    public required long ReceivedBytes { get; init; }

    public required long SentBytes { get; init; }

    public required int Connections { get; init; }

    public DiskStatus? Disk { get; init; }

    public static SiloStatistics Create(BlockStore store, SiloCounters counters, DiskTier? disk = null) => new()
    {
        Disk = disk?.GetStatus(),
        Store = store.GetStatistics(),
        Hits = counters.Hits,
        MissesAbsent = counters.Absent,
        MissesCorrupt = counters.Corrupt,
        Stored = counters.PutsWith(PutOutcome.Stored),
        ReceivedBytes = counters.ReceivedBytes,
        SentBytes = counters.SentBytes,
        Connections = counters.Connections,
    };
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SiloStatistics))]
[JsonSerializable(typeof(TenantStatistics))]
[JsonSerializable(typeof(SingleTenantStatistics))]
internal sealed partial class StatisticsJsonContext : JsonSerializerContext;
