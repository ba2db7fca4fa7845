using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Engine.Storage;

namespace KvCache.Silo.Telemetry;

/// <summary>What the stat message answers, as JSON.</summary>
internal sealed record SiloStatistics
{
    public required BlockStoreStatistics Store { get; init; }

    /// <summary>What the asking tenant has and has used.</summary>
    public required TenantStatistics Tenant { get; init; }

    public required long Hits { get; init; }

    public required long MissesAbsent { get; init; }

    public required long MissesCorrupt { get; init; }

    public required long Stored { get; init; }

    public required long ReceivedBytes { get; init; }

    public required long SentBytes { get; init; }

    public required int Connections { get; init; }

    public static SiloStatistics Create(BlockStore store, TenantAccount account, SiloCounters counters) => new()
    {
        Store = store.GetStatistics(),
        Tenant = store.GetStatistics(account),
        Hits = counters.Hits,
        MissesAbsent = counters.Absent,
        MissesCorrupt = counters.Corrupt,
        Stored = counters.PutsWith(PutOutcome.Stored),
        ReceivedBytes = counters.ReceivedBytes,
        SentBytes = counters.SentBytes,
        Connections = counters.Connections,
    };

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, StatisticsJsonContext.Default.SiloStatistics);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SiloStatistics))]
internal sealed partial class StatisticsJsonContext : JsonSerializerContext;
