using System.Globalization;
using System.Text;

namespace KvCache.Silo.Resp;

/// <content>The connection itself and the server behind it.</content>
internal sealed partial class RespSession
{
    // Clients choose by it which commands they use.
    private const string RedisVersion = "7.0.15";

    private readonly long _id;
    private string _user = "";
    private string _name = "";

    internal void Authenticate()
    {
        if (_arguments.Count > 3)
            SyntaxError();
        else if (_arguments.Count == 2 && !_server.Tenants.NeedSecrets)
            _writer.Error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is "
                + "correct?");
        else if (LogIn(
            _arguments.Count == 3 ? RespTenants.Name(_arguments[1]) : _server.Tenants.ImpliedUser, _arguments[_arguments.Count - 1]))
            _writer.Simple("OK"u8);
    }

    /// <summary>HELLO [version [AUTH user password] [SETNAME name]].</summary>
    internal void Hello()
    {
        long version = _writer.Version;
        if (_arguments.Count > 1 && (!_arguments.TryInteger(1, out version) || version is not (2 or 3)))
        {
            _writer.Error(
                _arguments.TryInteger(1, out _)
                ? "NOPROTO unsupported protocol version"
                : "ERR Protocol version is not an integer or out of range");
            return;
        }

        var name = _name;
        for (var i = 2; i < _arguments.Count; i++)
        {
            if (_arguments.Is(i, "AUTH"u8) && i + 2 < _arguments.Count)
            {
                if (!LogIn(RespTenants.Name(_arguments[i + 1]), _arguments[i + 2]))
                    return;
                i += 2;
            }
            else if (_arguments.Is(i, "SETNAME"u8) && i + 1 < _arguments.Count)
            {
                name = _arguments.Text(++i);
            }
            else
            {
                _writer.Error($"ERR Syntax error in HELLO option '{_arguments.Text(i)}'");
                return;
            }
        }

        if (!Authenticated)
        {
            _writer.Error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option "
                + "can be used to authenticate the client and select the RESP protocol version at the same time");
            return;
        }

        _name = name;
        _writer.Version = (int)version;
        _writer.Map(7);
        Pair("server", "redis");
        Pair("version", RedisVersion);
        _writer.Bulk("proto"u8);
        _writer.Integer(version);
        _writer.Bulk("id"u8);
        _writer.Integer(_id);
        Pair("mode", "standalone");
        Pair("role", "master");
        _writer.Bulk("modules"u8);
        _writer.Array(0);
    }

    internal void Ping()
    {
        if (_arguments.Count > 2)
            _writer.Error("ERR wrong number of arguments for 'ping' command");
        else if (_arguments.Count > 1)
            _writer.Bulk(_arguments[1]);
        else
            _writer.Simple("PONG"u8);
    }

    internal void Echo() => _writer.Bulk(_arguments[1]);

    internal void Quit()
    {
        _quit = true;
        _writer.Simple("OK"u8);
    }

    internal void Select()
    {
        if (!TryInteger(1, out var database))
            return;
        if (database == 0)
            _writer.Simple("OK"u8);
        else
            _writer.Error("ERR DB index is out of range");
    }

    internal void Command()
    {
        if (_arguments.Count == 1)
            Describe(RespCommands.All);
        else if (_arguments.Is(1, "COUNT"u8))
            _writer.Integer(RespCommands.All.Count);
        else if (_arguments.Is(1, "DOCS"u8))
            _writer.Map(0);
        else if (_arguments.Is(1, "INFO"u8))
            Describe([.. Enumerable.Range(2, _arguments.Count - 2).Select(RespCommand? (i) => RespCommands.Find(_arguments[i]))]);
        else if (_arguments.Is(1, "LIST"u8))
            List();
        else
            UnknownSubcommand();
    }

    /// <summary>CONFIG GET of the few settings that clients and benchmarks ask for.</summary>
    internal void Config()
    {
        if (!_arguments.Is(1, "GET"u8) || _arguments.Count < 3)
        {
            UnknownSubcommand();
            return;
        }

        (string Name, string Value)[] settings =
        [
            ("appendonly", "no"), ("databases", "1"), ("maxclients", Text(_server.Options.MaxConnections)),
                ("maxmemory", Text(_server.Values.Capacity)),
            ("maxmemory-policy", "allkeys-lru"), ("proto-max-bulk-len", Text(_server.Options.MaxValueSize.Bytes)),
                ("replica-read-only", "no"), ("save", ""),
            ("timeout", Text((long)_server.Options.IdleTimeout.TotalSeconds)),
        ];
        var asked = Array.FindAll(
            settings, setting =>
            Enumerable.Range(2, _arguments.Count - 2).Any(i => GlobPattern.IsMatch(_arguments[i], Encoding.ASCII.GetBytes(setting.Name))));
        _writer.Map(asked.Length);
        foreach (var (name, value) in asked)
            Pair(name, value);
    }

    internal void Cluster() => _writer.Error("ERR This instance has cluster support disabled");

    internal void Info()
    {
        var wanted = Enumerable.Range(1, _arguments.Count - 1).Select(_arguments.Text).ToHashSet(StringComparer.OrdinalIgnoreCase);
        var all = wanted.Count == 0 || wanted.Overlaps(["all", "default", "everything"]);
        var text = new StringBuilder();
        var own = _server.Values.StatisticsOf(_namespace); // what others do here is not for its eyes
        Section("Server", ("redis_version", RedisVersion), ("redis_mode", "standalone"), ("server_name", "kvcache"),
            ("process_id", Text(Environment.ProcessId)),
            ("tcp_port", Text(_server.Address?.Port ?? 0)),
                ("uptime_in_seconds", Text((long)(_server.Time.GetUtcNow() - _server.Started).TotalSeconds)));
        Section("Clients", ("connected_clients", Text(_server.ConnectionsOf(_user))), ("maxclients", Text(_server.Options.MaxConnections)));
        Section("Memory", ("used_memory", Text(own.UsedBytes)), ("maxmemory", Text(_server.Values.Capacity)),
            ("maxmemory_policy", "allkeys-lru"));
        Section("Stats", ("keyspace_hits", Text(own.ReadBlocks)), ("keyspace_misses", Text(own.MissedBlocks)),
            ("evicted_keys", Text(own.Evicted)));
        Section("Replication", ("role", "master"), ("connected_slaves", "0"));
        Section("Cluster", ("cluster_enabled", "0"));
        if (all || wanted.Contains("Keyspace"))
            Section("Keyspace", ("db0", $"keys={CountKeys()},expires=0,avg_ttl=0"));
        _writer.Bulk(text.ToString());

        void Section(string name, params (string Field, string Value)[] fields)
        {
            if (!all && !wanted.Contains(name))
                return;
            text.Append(text.Length > 0 ? "\r\n" : "").Append("# ").Append(name).Append("\r\n");
            foreach (var (field, value) in fields)
                text.Append(field).Append(':').Append(value).Append("\r\n");
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private bool LogIn(string user, ReadOnlySpan<byte> password)
    {
        if (_certified is null ? _server.Tenants.Accepts(user, password) : user == _certified)
        {
            if (!TryAdmit(user))
            {
                RefuseClient();
                return false;
            }

            Bind(user);
            return true;
        }

        _server.Counters.Rejected();
        Thread.Sleep(_server.Audit.Refused("the Redis endpoint", Address, user, _server.Options.HandshakeTimeout / 2));
        _writer.Error("WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }

    private void List()
    {
        _writer.Array(RespCommands.All.Count);
        foreach (var command in RespCommands.All)
            _writer.Bulk(command.Name);
    }

    private void Describe(IReadOnlyCollection<RespCommand?> commands)
    {
        _writer.Array(commands.Count);
        foreach (var command in commands)
        {
            if (command is null)
            {
                _writer.Null();
                continue;
            }

            _writer.Array(6);
            _writer.Bulk(command.Name);
            _writer.Integer(command.Arity);
            _writer.Array(1);
            _writer.Simple(command.Writes ? "write"u8 : "readonly"u8);
            _writer.Integer(command.FirstKey);
            _writer.Integer(command.LastKey);
            _writer.Integer(command.KeyStep);
        }
    }

    private void Pair(string name, string value)
    {
        _writer.Bulk(name);
        _writer.Bulk(value);
    }

    private void UnknownSubcommand() =>
        _writer.Error(
            $"ERR unknown subcommand or wrong number of arguments for '{_arguments.Text(1)}'. Try {_arguments.Text(0).ToUpperInvariant()} "
            + "HELP.");
}
