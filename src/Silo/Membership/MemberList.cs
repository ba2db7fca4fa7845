using System.Globalization;
using System.Text;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using Orleans;
using Orleans.Runtime;

namespace KvCache.Silo.Membership;

/// <summary>What was read of the list of members.</summary>
/// <param name="Id">Which list it is; empty where there is none.</param>
/// <param name="Version">Its version.</param>
/// <param name="Rows">Rows by silo, as text.</param>
/// <param name="Alive">When silos last said that they live, in milliseconds of Redis' clock.</param>
/// <param name="Ahead">How far Redis' clock is ahead of this machine's.</param>
internal sealed record MemberSnapshot(
    string Id, int Version, Dictionary<string, string> Rows, Dictionary<string, long> Alive, TimeSpan Ahead)
{
    public IEnumerable<MembershipEntry> Entries =>
        Rows.Select(row => MemberRow.Read(row.Value).ToEntry(Alive.GetValueOrDefault(row.Key), Ahead));
}

/// <summary>The list of members in Redis, over one connection of its own. Blocking calls, one at a time.</summary>
internal sealed class MemberList : IDisposable
{
    private readonly Lock _lock = new();
    private readonly RedisEndpoint _endpoint;
    private readonly RedisTierOptions _options;
    private readonly byte[] _key;
    private RedisConnection? _connection;
    private bool _disposed;

    /// <param name="endpoint">Where Redis is.</param>
    /// <param name="options">Its limits.</param>
    /// <param name="cluster">Name of the cluster.</param>
    public MemberList(RedisEndpoint endpoint, RedisTierOptions options, string cluster)
    {
        (_endpoint, _options) = (endpoint, options);
        _key = Encoding.UTF8.GetBytes($"{options.KeyPrefix}:members:{cluster}");
    }

    /// <summary>Where Redis is, for messages.</summary>
    public string Text => _endpoint.Text;

    /// <exception cref="RedisException">Redis cannot be reached, failed or refused.</exception>
    public MemberSnapshot Read() => Run((connection, deadline) =>
    {
        var before = DateTimeOffset.UtcNow;
        var fields = connection.EvaluateList(MemberScripts.Read, _key, [], deadline);
        var now = DateTimeOffset.UnixEpoch.AddSeconds(Number(fields[0])).AddMicroseconds(Number(fields[1]));
        var ahead = now - (before + ((DateTimeOffset.UtcNow - before) / 2));
        var snapshot = new MemberSnapshot("", 0, [], [], ahead);
        for (var i = 2; i + 1 < fields.Length; i += 2)
        {
            var (name, value) = (fields[i], fields[i + 1]);
            if (name == "list")
                snapshot = snapshot with { Id = value };
            else if (name == "version")
                snapshot = snapshot with { Version = (int)Number(value) };
            else if (name.StartsWith("alive:", StringComparison.Ordinal))
                snapshot.Alive[name[6..]] = Number(value);
            else
                snapshot.Rows[name] = value;
        }

        return snapshot;
    });

    /// <inheritdoc cref="MemberScripts.Create"/>
    public void Create(string id) => Evaluate(MemberScripts.Create, id);

    /// <inheritdoc cref="MemberScripts.Write"/>
    public bool Write(string silo, string row, int next, bool isNew) =>
        Evaluate(MemberScripts.Write, Text10(next - 1), Text10(next), silo, row, isNew ? "1" : "0") == 1;

    /// <inheritdoc cref="MemberScripts.Alive"/>
    public bool Alive(string silo) => Evaluate(MemberScripts.Alive, silo) == 1;

    /// <inheritdoc cref="MemberScripts.Restore"/>
    public int Restore(int version, string id, IEnumerable<KeyValuePair<string, string>> rows) => (int)Evaluate(
        MemberScripts.Restore, [Text10(version), id, .. rows.SelectMany(row => (string[])[row.Key, row.Value])]);

    /// <inheritdoc cref="MemberScripts.Remove"/>
    public void Remove(IEnumerable<string> silos) => Evaluate(MemberScripts.Remove, [.. silos]);

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            Drop();
        }
    }

    private long Evaluate(ReadOnlySpan<byte> script, params string[] arguments)
    {
        var text = script.ToArray();
        return Run((connection, deadline) => connection.EvaluateNumber(text, _key, arguments, deadline));
    }

    // Any failure costs the connection: the next call may reach another server.
    private T Run<T>(Func<RedisConnection, Deadline, T> call)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var deadline = Deadline.After(_options.CommandTimeout);
            for (var again = _connection is not null; ; again = false)
            {
                try
                {
                    _connection ??= RedisConnection.Connect(
                        _endpoint, 0, deadline.OrSooner(Deadline.After(_options.ConnectTimeout)));
                    return call(_connection, deadline);
                }
                catch (RedisException e)
                {
                    Drop();
                    if (!again || deadline.Passed || e.Failure is not (RedisFailure.Broken or RedisFailure.Refused))
                        throw;
                }
                catch
                {
                    Drop();
                    throw;
                }
            }
        }
    }

    private void Drop()
    {
        _connection?.Dispose();
        _connection = null;
    }

    private static long Number(string text) => long.Parse(text, NumberStyles.Integer, CultureInfo.InvariantCulture);

    private static string Text10(int number) => number.ToString(CultureInfo.InvariantCulture);
}
