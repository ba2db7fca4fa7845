using System.Text;
using KvCache.ProcessTests.Resp;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What the Redis endpoint answers, word for word, in both versions of the protocol.</summary>
public sealed class RespCommandTests(RespSilo silo) : IClassFixture<RespSilo>
{
    private readonly string _key = $"{{{Guid.NewGuid():N}}}";

    [Theory]
    [InlineData("2")]
    [InlineData("3")]
    public void A_value_is_set_read_measured_and_deleted(string version)
    {
        using var peer = new RespPeer(silo.Process);
        peer.Call("HELLO", version);
        Script(
            peer,
            ("GET k", "nil"),
            ("SET k hello", "+OK"),
            ("GET k", "\"hello\""),
            ("STRLEN k", ":5"),
            ("EXISTS k k none", ":2"),
            ("TYPE k", "+string"),
            ("TYPE none", "+none"),
            ("GETRANGE k 1 3", "\"ell\""),
            ("GETRANGE k -3 -1", "\"llo\""),
            ("GETRANGE k 0 100", "\"hello\""),
            ("GETRANGE k 3 1", "\"\""),
            ("GETRANGE k -100 -99", "\"h\""),
            ("GETRANGE none 0 -1", "\"\""),
            ("GETRANGE k -1 -3", "\"\""),
            ("SETNX k other", ":0"),
            ("SETNX k2 other", ":1"),
            ("SET k other", "+OK"),
            ("GET k", "\"other\""),
            ("DEL k k none", ":1"),
            ("GET k", "nil"),
            ("UNLINK k", ":0"),
            ("MSET a 1 b 2 a 3", "+OK"),
            ("MGET a none b", "[\"3\", nil, \"2\"]"));
    }

    [Fact]
    public void Set_obeys_its_options()
    {
        using var peer = new RespPeer(silo.Process);
        Script(
            peer,
            ("SET k a XX", "nil"),
            ("SET k a NX", "+OK"),
            ("SET k b nx", "nil"),
            ("GET k", "\"a\""),
            ("SET k b XX", "+OK"),
            ("SET k c GET", "\"b\""),
            ("SET new c GET", "nil"),
            ("SET k d NX GET", "\"c\""),
            ("GET k", "\"c\""),
            ("TTL k", ":-1"),
            ("SET k a EX 100", "+OK"),
            ("TTL k", ":100"),
            ("SET k b KEEPTTL", "+OK"),
            ("TTL k", ":100"),
            ("SET k b", "+OK"),
            ("TTL k", ":-1"),
            ("SET k b PX 100000 XX", "+OK"),
            ("TTL k", ":100"),
            ("SETEX k 200 c", "+OK"),
            ("TTL k", ":200"),
            ("PSETEX k 300000 c", "+OK"),
            ("TTL k", ":300"),
            ("SET k a EXAT 1", "+OK"),
            ("EXISTS k", ":0"),
            ("SET k a EX 0", "-ERR invalid expire time in 'set' command"),
            ("SETEX k 0 a", "-ERR invalid expire time in 'setex' command"),
            ("SETEX k x a", "-ERR value is not an integer or out of range"),
            ("SET k a EX", "-ERR syntax error"),
            ("SET k a NX XX", "-ERR syntax error"),
            ("SET k a EX 1 PX 1", "-ERR syntax error"),
            ("SET k a BOO", "-ERR syntax error"),
            ("EXISTS k", ":0"));
    }

    [Fact]
    public void A_life_is_set_asked_for_and_ends()
    {
        using var peer = new RespPeer(silo.Process);
        Script(
            peer,
            ("TTL k", ":-2"),
            ("EXPIRE k 10", ":0"),
            ("SET k a", "+OK"),
            ("PTTL k", ":-1"),
            ("EXPIRE k 10 XX", ":0"),
            ("EXPIRE k 100 NX", ":1"),
            ("EXPIRE k 50 GT", ":0"),
            ("EXPIRE k 200 GT", ":1"),
            ("PEXPIRE k 50000 LT", ":1"),
            ("TTL k", ":50"),
            ("EXPIRE k x", "-ERR value is not an integer or out of range"),
            ("EXPIRE k 10 BOO", "-ERR Unsupported option BOO"),
            ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("EXPIRE k -1", ":1"),
            ("EXISTS k", ":0"));
    }

    [Fact]
    public async Task A_value_is_gone_when_its_life_is_over()
    {
        using var peer = new RespPeer(silo.Process);
        Assert.Equal("+OK", peer.Call("SET", _key, "a", "PX", "30"));
        await Eventually.TrueAsync("the value is gone", () => peer.Call("GET", _key) == "nil");
        Assert.Equal(":-2", peer.Call("PTTL", _key));
    }

    [Fact]
    public void Errors_have_the_words_of_Redis_and_the_connection_goes_on()
    {
        using var peer = new RespPeer(silo.Process);
        Script(
            peer,
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("GET a b", "-ERR wrong number of arguments for 'get' command"),
            ("SET a", "-ERR wrong number of arguments for 'set' command"),
            ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
            ("APPEND a b", $"-ERR unknown command 'APPEND', with args beginning with: '{_key}a' 'b' "),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("SCAN x", "-ERR invalid cursor"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
            ("FLUSHDB", "-NOPERM User default has no permissions to run the 'flushdb' command"),
            ("AUTH x", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration "
                + "is correct?"),
            ("AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("PING", "+PONG"));
    }

    [Fact]
    public void The_connection_talks_about_itself_in_both_versions()
    {
        using var peer = new RespPeer(silo.Process);
        Assert.Matches(
            """^\["server", "redis", "version", "7.0.15", "proto", :2, "id", :\d+, "mode", "standalone", "role", "master", "modules", \[\]\]$""", peer.Call("HELLO"));
        Assert.Matches("""^\{"server": "redis", .*"proto": :3, .*"modules": \[\]\}$""", peer.Call("HELLO", "3", "SETNAME", "me"));
        Assert.Equal("\"me\"", peer.Call("CLIENT", "GETNAME"));
        Assert.Equal("+OK", peer.Call("CLIENT", "SETINFO", "LIB-NAME", "x"));
        Assert.Equal("{\"appendonly\": \"no\", \"save\": \"\"}", peer.Call("CONFIG", "GET", "save", "appendonly"));
        Assert.Equal("{}", peer.Call("COMMAND", "DOCS"));
        Assert.StartsWith("[[\"get\", :2, [+readonly], :1, :1, :1]", peer.Call("COMMAND", "INFO", "get"), StringComparison.Ordinal);
        Assert.Contains("role:master", peer.Call("INFO", "replication"), StringComparison.Ordinal);
        Assert.Equal("\"x y\"", peer.Call("ECHO", "x y"));
        Assert.Equal("+OK", peer.Call("QUIT"));
        Assert.Equal("closed", peer.Reply());
    }

    [Fact]
    public void A_pipeline_is_answered_in_order_in_whatever_pieces_it_comes()
    {
        using var peer = new RespPeer(silo.Process);
        var request = new StringBuilder();
        for (var i = 0; i < 200; i++)
            request.Append(
                $"*3\r\n$3\r\nSET\r\n${_key.Length + 3}\r\n{_key}{i:000}\r\n${i}\r\n{new string('v', i)}\r\n*2\r\n$3\r\nGET\r\n${_key.Length + 3}\r\n{_key}{i:000}\r\n");
        var text = request.ToString();
        for (int at = 0, size = 1; at < text.Length; at += size, size = (size * 7 % 1009) + 1)
            peer.SendRaw(text.Substring(at, Math.Min(size, text.Length - at)));
        for (var i = 0; i < 200; i++)
        {
            Assert.Equal("+OK", peer.Reply());
            Assert.Equal($"\"{new string('v', i)}\"", peer.Reply());
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(100_001)]
    [InlineData(5 << 20)]
    public void Values_of_every_size_come_back_bit_by_bit(int size)
    {
        using var peer = new RespPeer(silo.Process);
        var value = new byte[size];
        new Random(size).NextBytes(value);
        Assert.Equal("+OK", peer.Call("SET", _key, value));
        peer.Send("GET", _key);
        Assert.Equal(value, peer.Value());
        Assert.Equal($":{size}", peer.Call("STRLEN", _key));
        peer.Send("GETRANGE", _key, "1", "-2");
        Assert.Equal(size < 2 ? [] : value[1..^1], peer.Value());
    }

    [Fact]
    public void A_scan_tells_every_key_of_this_silo_once_on_any_connection()
    {
        var expected = Enumerable.Range(0, 300).Select(i => $"{_key}scan{i}").ToHashSet();
        using var peer = new RespPeer(silo.Process);
        foreach (var key in expected)
            Assert.Equal("+OK", peer.Call("SET", key, "v"));
        var found = new List<string>();
        var cursor = "0";
        do
        {
            using var other = new RespPeer(silo.Process);
            var reply = other.Call("SCAN", cursor, "MATCH", $"{_key}sca[n]*", "COUNT", "20");
            var parts = reply[1..^1].Split(", [", 2);
            cursor = parts[0].Trim('"');
            found.AddRange(parts[1].TrimEnd(']').Split(", ", StringSplitOptions.RemoveEmptyEntries).Select(key => key.Trim('"')));
        }
        while (cursor != "0");
        Assert.Equal(expected.Order(), found.Order());
        var size = int.Parse(peer.Call("DBSIZE")[1..], System.Globalization.CultureInfo.InvariantCulture);
        Assert.True(size >= 300, $"DBSIZE said {size}.");
    }

    [Fact]
    public void A_key_may_be_long_but_not_empty_and_not_without_end()
    {
        using var peer = new RespPeer(silo.Process);
        var (one, two) = (_key + new string('a', 900), _key + new string('a', 899) + "b");
        Assert.Equal("+OK", peer.Call("SET", one, "1"));
        Assert.Equal("nil", peer.Call("GET", two));
        Assert.Equal("\"1\"", peer.Call("GET", one));
        Assert.Equal("-ERR a key has 1 to 1024 bytes here", peer.Call("SET", new string('a', 1025), "1"));
        Assert.Equal("-ERR a key has 1 to 1024 bytes here", peer.Call("SET", "", "1"));
        Assert.Equal("nil", peer.Call("GET", ""));
        Assert.Equal("+PONG", peer.Call("PING"));
    }

    // Keys of a script get a prefix of their own: tests share the silo.
    private void Script(RespPeer peer, params (string Request, string Reply)[] steps)
    {
        string[] withoutKeys = ["SELECT", "SCAN", "HELLO", "CLUSTER", "AUTH", "PING", "FLUSHDB"];
        foreach (var (request, reply) in steps)
        {
            var words = request.Split(' ');
            var everySecond = words[0] == "MSET" ? 2 : words[0] is "MGET" or "DEL" or "EXISTS" or "UNLINK" ? 1 : words.Length;
            for (var i = 1; i < words.Length && !withoutKeys.Contains(words[0]); i += everySecond)
                words[i] = _key + words[i];
            Assert.Equal((request, reply), (request, peer.Call(words)));
        }
    }
}
