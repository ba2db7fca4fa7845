using System.Diagnostics.CodeAnalysis;
using KvCache.Engine.Storage;

namespace KvCache.Silo.Telemetry;

/// <summary>What a silo without tenants tells whoever asks: the figures of its only account, and its own.</summary>
internal sealed record SingleTenantStatistics : TenantStatistics
{
    [SetsRequiredMembers]
    public SingleTenantStatistics(TenantStatistics account, SiloStatistics silo)
        : base(account)
    {
        Store = silo.Store;
        Hits = silo.Hits;
        MissesAbsent = silo.MissesAbsent;
        MissesCorrupt = silo.MissesCorrupt;
        Stored = silo.Stored;
        ReceivedBytes = silo.ReceivedBytes;
        SentBytes = silo.SentBytes;
        Connections = silo.Connections;
    }

    public BlockStoreStatistics Store { get; }

    public long Hits { get; }

    public long MissesAbsent { get; }

    public long MissesCorrupt { get; }

    public long Stored { get; }

    public long ReceivedBytes { get; }

    public long SentBytes { get; }

    public int Connections { get; }
}
