using System.Collections.Frozen;
using System.Text;

namespace KvCache.Silo.Resp;

/// <summary>One command.</summary>
/// <param name="Name">In small letters.</param>
/// <param name="Arity">Number of arguments, itself included; negative for at least so many.</param>
/// <param name="Run">Answers it; the number is that of its arguments.</param>
internal sealed record RespCommand(string Name, int Arity, Action<RespSession, int> Run)
{
    /// <summary>Value of the metrics' label <c>type</c>.</summary>
    public string Type { get; } = "resp." + Name;

    /// <summary>Whether it reads its arguments itself, because values are among them.</summary>
    public bool Streams { get; init; }

    /// <summary>Whether it may be called before authentication.</summary>
    public bool Anybody { get; init; }

    /// <summary>Whether it changes something.</summary>
    public bool Writes { get; init; }

    /// <summary>Whether it is run at once behind MULTI, too.</summary>
    public bool EndsQueue { get; init; }

    /// <summary>Whether it may stand in a transaction.</summary>
    public bool Queues { get; init; }

    /// <summary>Index of the first key; 0 for none.</summary>
    public int FirstKey { get; init; }

    /// <summary>Index of the last key; negative counts from the end.</summary>
    public int LastKey { get; init; }

    /// <summary>Distance between keys.</summary>
    public int KeyStep => FirstKey == 0 ? 0 : Name == "mset" ? 2 : 1;

    /// <summary>Whether it can be called with so many arguments.</summary>
    public bool Takes(int count) => Arity >= 0 ? count == Arity : count >= -Arity;
}

/// <summary>The commands that the endpoint knows.</summary>
internal static class RespCommands
{
    private static readonly FrozenDictionary<string, RespCommand> ByName;
    private static readonly FrozenDictionary<string, RespCommand>.AlternateLookup<ReadOnlySpan<char>> ByText;

    static RespCommands()
    {
        RespCommand[] all =
        [
            Free("auth", -2, session => session.Authenticate()),
            Free("hello", -1, session => session.Hello()),
            Free("quit", -1, session => session.Quit()) with { EndsQueue = true },
            Plain("ping", -1, session => session.Ping()) with { Queues = true },
            Plain("echo", 2, session => session.Echo()) with { Queues = true },
            Plain("time", 1, session => session.ServerTime()) with { Queues = true },
            Plain("select", 2, session => session.Select()) with { Queues = true },
            Plain("client", -2, session => session.Client()),
            Plain("command", -1, session => session.Command()),
            Plain("config", -2, session => session.Config()),
            Plain("cluster", -2, session => session.Cluster()),
            Plain("info", -1, session => session.Info()),
            Plain("multi", 1, session => session.Multi()) with { EndsQueue = true },
            Plain("exec", 1, session => session.Execute()) with { EndsQueue = true },
            Plain("discard", 1, session => session.Discard()) with { EndsQueue = true },
            Plain("watch", -2, session => session.Watch()) with { EndsQueue = true, FirstKey = 1, LastKey = -1 },
            Plain("unwatch", 1, session => session.Unwatch()) with { Queues = true },
            Plain("eval", -3, session => session.Evaluate()) with { Writes = true, FirstKey = 3, LastKey = 3, Queues = true },
            Plain("evalsha", -3, session => session.EvaluateKnown()) with { Writes = true, FirstKey = 3, LastKey = 3, Queues = true },
            Plain("script", -2, session => session.Script()),
            Plain("object", -2, session => session.Object()) with { FirstKey = 2, LastKey = 2, Queues = true },
            Plain("memory", -2, session => session.Memory()) with { FirstKey = 2, LastKey = 2, Queues = true },
            Plain("dbsize", 1, session => session.Count()),
            Plain("scan", -2, session => session.Scan()),
            Read("get", 2, session => session.Get()),
            Read("getrange", 4, session => session.GetRange()),
            Read("strlen", 2, session => session.Length()),
            Read("ttl", 2, session => session.SecondsToLive()),
            Read("pttl", 2, session => session.MillisecondsToLive()),
            Read("expiretime", 2, session => session.EndInSeconds()),
            Read("pexpiretime", 2, session => session.EndInMilliseconds()),
            Read("hget", 3, session => session.GetField()),
            Read("hmget", -3, session => session.GetFields()),
            Read("hgetall", 2, session => session.GetAllFields()),
            Read("hkeys", 2, session => session.GetFieldNames()),
            Read("hvals", 2, session => session.GetFieldValues()),
            Read("hexists", 3, session => session.HasField()),
            Read("hlen", 2, session => session.CountFields()),
            Read("hstrlen", 3, session => session.FieldLength()),
            Read("type", 2, session => session.Type()),
            Read("mget", -2, session => session.MultipleGet()) with { LastKey = -1 },
            Read("exists", -2, session => session.Exists()) with { LastKey = -1 },
            Write("del", -2, session => session.Delete()) with { LastKey = -1 },
            Write("unlink", -2, session => session.Delete()) with { LastKey = -1 },
            Read("touch", -2, session => session.Exists()) with { LastKey = -1 },
            Write("getdel", 2, session => session.GetAndDelete()),
            Write("getex", -2, session => session.GetAndExpire()),
            Write("persist", 2, session => session.Persist()),
            Write("expireat", -3, session => session.ExpireAtSecond()),
            Write("pexpireat", -3, session => session.ExpireAtMillisecond()),
            Write("incr", 2, session => session.Increment(1)),
            Write("decr", 2, session => session.Increment(-1)),
            Write("incrby", 3, session => session.IncrementBy(1)),
            Write("decrby", 3, session => session.IncrementBy(-1)),
            Write("hdel", -3, session => session.DeleteFields()),
            Write("expire", -3, session => session.ExpireInSeconds()),
            Write("pexpire", -3, session => session.ExpireInMilliseconds()),
            Plain("flushdb", -1, session => session.Flush()) with { Writes = true },
            Plain("flushall", -1, session => session.Flush()) with { Writes = true },
            Store("set", -3, (session, count) => session.Set(count)),
            Store("hset", -4, (session, count) => session.SetFields(count)),
            Store("hmset", -4, (session, count) => session.SetFields(count)),
            Store("hsetnx", 4, (session, count) => session.SetNewField(count)),
            Store("getset", 3, (session, _) => session.GetAndSet()),
            Store("setnx", 3, (session, _) => session.SetIfAbsent()),
            Store("setex", 4, (session, _) => session.SetWithSeconds()),
            Store("psetex", 4, (session, _) => session.SetWithMilliseconds()),
            Store("mset", -3, (session, count) => session.MultipleSet(count)) with { LastKey = -1 },
        ];
        All = all;
        ByName = all.ToFrozenDictionary(command => command.Name, StringComparer.OrdinalIgnoreCase);
        ByText = ByName.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>All commands.</summary>
    public static IReadOnlyList<RespCommand> All { get; }

    /// <summary>The command of a name, in capitals or not; null when it is not known.</summary>
    public static RespCommand? Find(ReadOnlySpan<byte> name)
    {
        Span<char> text = stackalloc char[16];
        return name.Length <= text.Length && ByText.TryGetValue(text[..Encoding.Latin1.GetChars(name, text)], out var command)
            ? command
            : null;
    }

    private static RespCommand Plain(string name, int arity, Action<RespSession> run) => new(name, arity, (session, _) => run(session));

    private static RespCommand Free(string name, int arity, Action<RespSession> run) => Plain(name, arity, run) with { Anybody = true };

    private static RespCommand Read(string name, int arity, Action<RespSession> run) =>
        Plain(name, arity, run) with { FirstKey = 1, LastKey = 1, Queues = true };

    private static RespCommand Write(string name, int arity, Action<RespSession> run) => Read(name, arity, run) with { Writes = true };

    private static RespCommand Store(string name, int arity, Action<RespSession, int> run) =>
        new(name, arity, run) { Streams = true, Writes = true, FirstKey = 1, LastKey = 1, Queues = true };
}
