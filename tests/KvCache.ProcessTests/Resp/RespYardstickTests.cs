using System.Globalization;
using System.Text.RegularExpressions;
using KvCache.ProcessTests.Resp;

namespace KvCache.ProcessTests;

/// <summary>Generated commands get the answers of a real Redis, in both versions of the protocol.</summary>
[Collection(typeof(CachingSilo))]
public sealed partial class RespYardstickTests(CachingSilo silo)
{
    private const int Commands = 4000;
    private const double TimeTolerance = 2; // seconds, as two servers do not hear a command at the same moment

    private static readonly string[] Keys = ["a", "b", "c", "d", "hash", "other"];
    private static readonly string[] Values =
        ["", "1", "-7", "007", "text", "9223372036854775807", "a b\r\nc", new('x', 9000), "3.5", "token"];

    private static readonly string[] Fields = ["f", "g", "h", ""];

    private const string WrongType = "-WRONGTYPE";

    private const string Mine = "local token = redis.call('get', KEYS[1])\n if not token or token ~= ARGV[1] then\n return 0\n end\n";

    private static readonly string[] Scripts =
    [
        "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end",
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end",
        Mine + "redis.call('del', KEYS[1])\n return 1",
        Mine + "redis.call('pexpire', KEYS[1], ARGV[2])\n return 1",
        Mine + "local expiration = redis.call('pttl', KEYS[1])\n if not expiration then\n expiration = 0\n end\n if expiration < 0 then\n "
            + "return 0\n end\n local newttl = ARGV[2]\n if ARGV[3] == \"0\" then\n newttl = ARGV[2] + expiration\n end\n "
            + "redis.call('pexpire', KEYS[1], newttl)\n return 1",
        "local currentVal = redis.call('get', KEYS[1])\n if (currentVal == false) then\n "
            + "return redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2]) and 1 or 0\n elseif (currentVal == ARGV[1]) then\n "
            + "return redis.call('pexpire', KEYS[1], ARGV[2])\n else\n return -1\n end",
    ];

    [Theory]
    [InlineData(1, "2")]
    [InlineData(2, "3")]
    public void The_answers_are_those_of_Redis(int seed, string version)
    {
        using var redis = RedisProcess.Start();
        using var real = new RespPeer(redis.Tcp);
        using var ours = new RespPeer(silo.Process);
        real.Call("HELLO", version);
        ours.Call("HELLO", version);
        foreach (var key in Keys)
            ours.Call("DEL", key);
        var random = new Random(seed);
        var said = new List<string>();
        var differences = new List<string>();
        for (var i = 0; i < Commands; i++)
        {
            foreach (var words in Next(random))
            {
                said.Add(string.Join(' ', words.Select(Show)));
                var (expected, actual) = (real.Call(words), ours.Call(words));
                if (!IsSame(words[0], expected, actual))
                    differences.Add($"{string.Join('\n', said.TakeLast(6))}\n  Redis: {Show(expected)}\n  silo:  {Show(actual)}");
            }
        }

        Assert.True(
            differences.Count == 0, $"Seed {seed} has {differences.Count} differences:\n{string.Join('\n', differences.Take(12))}");
    }

    private static IEnumerable<string[]> Next(Random random)
    {
        if (random.Next(40) > 0)
        {
            yield return One(random);
            yield break;
        }

        // Of a key that was written in between, or of one that was not.
        if (random.Next(2) == 0)
            yield return ["WATCH", Pick(random, Keys), Pick(random, Keys)];
        if (random.Next(2) == 0)
            yield return ["SET", Pick(random, Keys), Pick(random, Values)];
        yield return ["MULTI"];
        for (var i = random.Next(5); i > 0; i--)
            yield return One(random);
        if (random.Next(6) == 0)
            yield return ["NOSUCHCOMMAND"];
        if (random.Next(6) == 0)
            yield return ["GET"];
        yield return random.Next(6) == 0 ? ["DISCARD"] : ["EXEC"];
        yield return ["UNWATCH"];
    }

    private static string[] One(Random random)
    {
        var (key, other, value, field) = (Pick(random, Keys), Pick(random, Keys), Pick(random, Values), Pick(random, Fields));
        var seconds = Pick(random, ["100", "1000", "5000", "0", "-1", "x"]);
        return random.Next(46) switch
        {
            0 => ["GET", key],
            1 => ["SET", key, value],
            2 => ["SET", key, value, .. SetOptions(random)],
            3 => ["SETNX", key, value],
            4 => ["SETEX", key, seconds, value],
            5 => ["PSETEX", key, seconds + "000", value],
            6 => ["MSET", key, value, other, Pick(random, Values)],
            7 => ["MGET", key, other, "none"],
            8 => ["GETRANGE", key, Number(random), Number(random)],
            9 => ["STRLEN", key],
            10 => ["EXISTS", key, other, key],
            11 => ["TYPE", key],
            12 => ["DEL", key, other],
            13 => ["UNLINK", key],
            14 => ["TTL", key],
            15 => ["PTTL", key],
            16 => ["EXPIRE", key, seconds, .. Conditions(random)],
            17 => ["PEXPIRE", key, seconds + "000", .. Conditions(random)],
            18 => ["EXPIREAT", key, Pick(random, ["4000000000", "1", "x"]), .. Conditions(random)],
            19 => ["PEXPIREAT", key, "4000000000000", .. Conditions(random)],
            20 => ["EXPIRETIME", key],
            21 => ["PEXPIRETIME", key],
            22 => ["PERSIST", key],
            23 => ["GETEX", key],
            24 => ["GETEX", key,
                .. Pick<string[]>(random, [["EX", "100"], ["PX", "50000"], ["EXAT", "4000000000"], ["PERSIST"], ["EX"], ["NX"]])],
            25 => ["GETDEL", key],
            26 => ["GETSET", key, value],
            27 => ["TOUCH", key, other],
            28 => [Pick(random, ["INCR", "DECR"]), key],
            29 => [Pick(random, ["INCRBY", "DECRBY"]), key, Number(random)],
            30 => ["HSET", key, field, value],
            31 => ["HSET", "hash", field, value, Pick(random, Fields), Pick(random, Values)],
            32 => ["HMSET", "hash", field, value],
            33 => ["HSETNX", "hash", field, value],
            34 => ["HGET", key, field],
            35 => ["HMGET", "hash", field, "none", field],
            36 => ["HGETALL", key],
            37 => [Pick(random, ["HKEYS", "HVALS", "HLEN"]), key],
            38 => [Pick(random, ["HEXISTS", "HSTRLEN"]), key, field],
            39 => ["HDEL", key, field, Pick(random, Fields)],
            40 => ["OBJECT", "REFCOUNT", "none"],
            41 => ["MEMORY", "USAGE", "none"],
            42 => ["EVAL", Pick(random, Scripts), "1", key, value, "60000", Pick(random, ["0", "1"])],
            43 => ["SET", key, "token", "PX", "90000"],
            44 => [Pick(random, ["PING", "ECHO", "TIME", "SELECT"]), .. Pick<string[]>(random, [[], ["0"], ["1", "2"]])],
            _ => [Pick(random, ["GET", "SET", "HSET", "EXPIRE", "PERSIST", "GETEX", "INCRBY", "MSET", "HMGET"])],
        };
    }

    private static string[] SetOptions(Random random)
    {
        string[][] options =
            [["NX"], ["XX"], ["GET"], ["KEEPTTL"], ["EX", "100"], ["PX", "70000"], ["EXAT", "4000000000"], ["EX", "0"], ["EX"]];
        return [.. Enumerable.Range(0, random.Next(1, 3)).SelectMany(_ => options[random.Next(options.Length)])];
    }

    private static string[] Conditions(Random random) => random.Next(2) == 0
        ? []
        : [.. Enumerable.Range(0, random.Next(1, 3)).Select(_ => Pick(random, ["NX", "XX", "GT", "LT", "gt", "ZZ"]))];

    private static string Number(Random random) => Pick(random, ["0", "1", "-1", "5", "-3", "100", "x", "-9223372036854775808"]);

    private static T Pick<T>(Random random, T[] items) => items[random.Next(items.Length)];

    // Times are compared as times; the fields of a hash have no order; an error of a script has more words in Redis.
    private static bool IsSame(string command, string expected, string actual)
    {
        if (expected == actual)
            return true;
        var unit = command switch { "TTL" or "EXPIRETIME" => 1, "PTTL" or "PEXPIRETIME" or "EXEC" => 1000, _ => 0 };
        if (command == "EVAL" || command == "EXEC")
            (expected, actual) = (ScriptError().Replace(expected, WrongType), ScriptError().Replace(actual, WrongType));
        if (expected == actual)
            return true;
        if (command is "HGETALL" or "HKEYS" or "HVALS")
            return Parts(expected).SequenceEqual(Parts(actual));
        if (command == "TIME")
            return expected[0] == actual[0] && expected[0] == '[';
        if (unit == 0)
            return false;
        var (left, right) = (expected.Split(", "), actual.Split(", "));
        return left.Length == right.Length && left.Zip(right).All(pair => pair.First == pair.Second
            || (TryTime(pair.First, out var first) && TryTime(pair.Second, out var second)
                && Math.Abs(first - second) <= TimeTolerance * unit && first > 0 && second > 0));

        static IEnumerable<string> Parts(string text) => text.Split(",: []{}\"".ToCharArray()).Order(StringComparer.Ordinal);

        static bool TryTime(string text, out long time) =>
            long.TryParse(text.Trim('[', ']', ':', '"'), NumberStyles.Integer, CultureInfo.InvariantCulture, out time);
    }

    [GeneratedRegex("-WRONGTYPE [a-zA-Z ]*value( script: [0-9a-z]+, on @user_script:[0-9]+\\.)?")]
    private static partial Regex ScriptError();

    private static string Show(string text) => text.Length > 60
        ? $"{text[..60]}… ({text.Length})"
        : text.Replace("\r\n", "\\r\\n", StringComparison.Ordinal);
}
