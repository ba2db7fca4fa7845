using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Membership;

/// <summary>A silo in the list of members, as Redis has it. Times are Redis' own: clocks of silos differ, and jump.</summary>
internal sealed record MemberRow
{
    public required string Silo { get; init; }

    public required SiloStatus Status { get; init; }

    public string Name { get; init; } = "";

    public string Host { get; init; } = "";

    public string Role { get; init; } = "";

    public int ProxyPort { get; init; }

    /// <summary>Milliseconds since 1970.</summary>
    public long Started { get; init; }

    public long Alive { get; init; }

    public Suspicion[] Suspicions { get; init; } = [];

    /// <summary>A silo that took another for dead.</summary>
    public sealed record Suspicion(string By, long At);

    /// <summary>Writes an entry.</summary>
    /// <param name="entry">What Orleans knows of a silo.</param>
    /// <param name="ahead">How far Redis' clock is ahead of this machine's.</param>
    public static string Write(MembershipEntry entry, TimeSpan ahead) => JsonSerializer.Serialize(
        new MemberRow
        {
            Silo = entry.SiloAddress.ToParsableString(),
            Status = entry.Status,
            Name = entry.SiloName ?? "",
            Host = entry.HostName ?? "",
            Role = entry.RoleName ?? "",
            ProxyPort = entry.ProxyPort,
            Started = Stamp(entry.StartTime, ahead),
            Alive = Stamp(entry.IAmAliveTime, ahead),
            Suspicions = [.. (entry.SuspectTimes ?? [])
                .Select(vote => new Suspicion(vote.Item1.ToParsableString(), Stamp(vote.Item2, ahead)))],
        },
        MemberRowJsonContext.Default.MemberRow);

    public static MemberRow Read(string text) => JsonSerializer.Deserialize(text, MemberRowJsonContext.Default.MemberRow)!;

    /// <summary>The entry, in times of this machine.</summary>
    /// <param name="alive">When the silo last said that it lives; 0 when never.</param>
    /// <param name="ahead">How far Redis' clock is ahead of this machine's.</param>
    public MembershipEntry ToEntry(long alive, TimeSpan ahead)
    {
        var last = Math.Max(alive, Alive);
        return new MembershipEntry
        {
            SiloAddress = SiloAddress.FromParsableString(Silo),
            Status = Status,
            SiloName = Name,
            HostName = Host,
            RoleName = Role,
            ProxyPort = ProxyPort,
            StartTime = Time(Math.Min(Started, last), ahead), // Orleans takes a start for a sign of life
            IAmAliveTime = Time(last, ahead),
            SuspectTimes = [.. Suspicions.Select(vote => Tuple.Create(SiloAddress.FromParsableString(vote.By), Time(vote.At, ahead)))],
        };
    }

    /// <summary>A time of this machine as Redis would tell it.</summary>
    public static long Stamp(DateTime time, TimeSpan ahead) =>
        time.Ticks < TimeSpan.TicksPerDay ? 0 : new DateTimeOffset(time, TimeSpan.Zero).Add(ahead).ToUnixTimeMilliseconds();

    private static DateTime Time(long stamp, TimeSpan ahead) =>
        stamp == 0 ? default : DateTimeOffset.FromUnixTimeMilliseconds(stamp).Subtract(ahead).UtcDateTime;
}

[JsonSourceGenerationOptions(UseStringEnumConverter = true)]
[JsonSerializable(typeof(MemberRow))]
internal sealed partial class MemberRowJsonContext : JsonSerializerContext;
