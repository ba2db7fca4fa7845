using KvCache.Silo.Options;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Membership;

/// <summary>
/// Orleans' list of members, in Redis. Beyond what Orleans asks of one, it survives what happens to a Redis: a list that Redis has
/// forgotten is written again by the first silo that notices, and times are those of Redis' clock, so that clocks which differ or jump
/// make nobody alive or dead.
/// </summary>
internal sealed partial class RedisMembership(MemberList list, ILocalSiloDetails local, ILogger<RedisMembership> logger)
    : IMembershipTable
{
    // One that the cluster has forgotten as one of the dead must not come back as if nothing had been.
    private readonly Lock _lock = new();
    private MemberSnapshot? _seen;
    private string? _own;

    public Task InitializeMembershipTable(bool tryInitTableVersion) => RunAsync(() =>
    {
        if (tryInitTableVersion)
            list.Create(NewId());
        return true;
    });

    public Task<MembershipTableData> ReadAll() => RunAsync(() => Data(ReadAndRestore(), _ => true));

    public Task<MembershipTableData> ReadRow(SiloAddress key) =>
        RunAsync(() => Data(ReadAndRestore(), entry => entry.SiloAddress.Equals(key)));

    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) => WriteAsync(entry, tableVersion, isNew: true);

    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        WriteAsync(entry, tableVersion, isNew: false);

    public Task UpdateIAmAlive(MembershipEntry entry) => RunAsync(() =>
    {
        var silo = entry.SiloAddress.ToParsableString();
        if (!list.Alive(silo))
        {
            ReadAndRestore();
            list.Alive(silo);
        }

        return true;
    });

    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => RunAsync(() =>
    {
        var old = ReadAndRestore().Entries
            .Where(entry => entry.Status != SiloStatus.Active && Latest(entry) < beforeDate.UtcDateTime)
            .Select(entry => entry.SiloAddress.ToParsableString()).ToArray();
        if (old.Length > 0)
            list.Remove(old);
        return true;

        static DateTime Latest(MembershipEntry entry) =>
            (entry.SuspectTimes ?? []).Select(vote => vote.Item2).Append(entry.IAmAliveTime).Max();
    });

    public Task DeleteMembershipTableEntries(string clusterId) => RunAsync(() =>
    {
        list.Remove(list.Read().Rows.Keys);
        return true;
    });

    private static string NewId() => Guid.NewGuid().ToString("n");

    private static Task<T> RunAsync<T>(Func<T> call) =>
        Task.Factory.StartNew(call, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static MembershipTableData Data(MemberSnapshot snapshot, Func<MembershipEntry, bool> wanted)
    {
        var version = new TableVersion(snapshot.Version, $"{snapshot.Version}");
        return new MembershipTableData(
            [.. snapshot.Entries.Where(wanted).Select(entry => Tuple.Create(entry, version.VersionEtag))], version);
    }

    private Task<bool> WriteAsync(MembershipEntry entry, TableVersion version, bool isNew) => RunAsync(() =>
    {
        lock (_lock)
        {
            var silo = entry.SiloAddress.ToParsableString();
            var row = MemberRow.Write(entry, _seen?.Ahead ?? TimeSpan.Zero);
            if (!list.Write(silo, row, version.Version, isNew))
                return false;
            if (entry.SiloAddress.Equals(local.SiloAddress))
                _own = silo;
            if (_seen is not null)
            {
                _seen.Rows[silo] = row;
                _seen = _seen with { Version = version.Version };
            }

            return true;
        }
    });

    private MemberSnapshot ReadAndRestore()
    {
        lock (_lock)
        {
            var now = list.Read();
            if (_seen is { } seen && _own is not null && seen.Rows.ContainsKey(_own))
            {
                // Another list, or an older state of it: a Redis that has lost its data, or a replica that had not all of it.
                if (now.Id != seen.Id || now.Version < seen.Version)
                {
                    LogForgotten(list.Text, now.Rows.Count, seen.Rows.Count);
                    list.Restore(Math.Max(seen.Version, now.Version), NewId(), seen.Rows);
                    now = list.Read();
                }
                else if (!now.Rows.ContainsKey(_own))
                {
                    // The list went on, and this silo was taken off: the others have declared it dead, long ago.
                    var dead = MemberRow.Read(seen.Rows[_own]) with { Status = SiloStatus.Dead };
                    now.Rows[_own] = System.Text.Json.JsonSerializer.Serialize(dead, MemberRowJsonContext.Default.MemberRow);
                }
            }

            return _seen = now;
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Redis at {Redis} has forgotten the list of members (it has {Rows} of {Known} silos); it is written again")]
    private partial void LogForgotten(string redis, int rows, int known);
}
