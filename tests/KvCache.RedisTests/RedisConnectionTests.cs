using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.RedisTests;

public sealed class RedisConnectionTests
{
    [Theory]
    [InlineData("$-2147483649000000000000\r\n")]
    [InlineData("$\r\n")]
    [InlineData("$5x\r\nhello\r\n")]
    [InlineData("+OK\r\n")]
    [InlineData("\r\n")]
    [InlineData("*1\r\n$5\r\nhello\r\n")]
    public void A_reply_that_is_not_a_string_is_an_error(string reply) =>
        Assert.Equal(RedisFailure.Protocol, Fails(AnyLife + reply, connection => connection.Get("key"u8, out _, Soon())).Failure);

    [Fact]
    public void A_line_without_an_end_is_an_error() =>
        Assert.Equal(RedisFailure.Protocol, Fails(AnyLife + "$" + new string('1', 100_000), connection => connection.Get("key"u8, out _,
            Soon())).Failure);

    [Theory]
    [InlineData("")]
    [InlineData("$5")]
    [InlineData("$5\r\nhel")]
    public void A_reply_that_breaks_off_is_an_error(string reply) =>
        Assert.Equal(RedisFailure.Broken, Fails(AnyLife + reply, ReadFive).Failure);

    [Fact]
    public void A_value_without_an_end_is_an_error() =>
        Assert.Equal(RedisFailure.Protocol, Fails(AnyLife + "$5\r\nhelloXY", ReadFive).Failure);

    [Theory]
    [InlineData("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM")]
    [InlineData("-LOADING Redis is loading the dataset in memory\r\n", "LOADING")]
    [InlineData("-READONLY You can't write against a read only replica.\r\n", "READONLY")]
    [InlineData("-MISCONF Redis is configured to save RDB snapshots\r\n", "MISCONF")]
    [InlineData("-\r\n", "")]
    public void An_error_reply_carries_redis_words_and_leaves_the_connection_usable(string reply, string code) =>
        Talk(reply + ":1\r\n", connection =>
        {
            var error = Assert.Throws<RedisException>(() => connection.Set("key"u8, "head"u8, "body"u8, 1000, Soon()));
            Assert.Equal(RedisFailure.Refused, error.Failure);
            Assert.Equal(code, error.Code);
            Assert.False(connection.LeftWrite);
            Assert.True(connection.IsUsable);
            Assert.True(connection.Exists("key"u8, Soon()));
        });

    [Fact]
    public void A_scan_with_a_strange_shape_is_an_error()
    {
        var names = new RedisKeySpace("kvcache");
        foreach (var reply in new[] { "*3\r\n", "*2\r\n$1\r\nx\r\n*0\r\n", "*2\r\n$-1\r\n", "*2\r\n$1\r\n0\r\n$1\r\nx\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n:5\r\n" })
            Assert.Equal(RedisFailure.Protocol, Fails(reply, connection => connection.Scan(0, names, 10, [], Soon())).Failure);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_silent_server_costs_the_deadline_and_no_more(bool connected)
    {
        using var listener = Listen();
        Socket? server = null; // referred to until the end: a socket that the collector finds is closed
        var began = Stopwatch.GetTimestamp();
        if (connected)
            Run(() => (server = listener.Accept()).Send(Encoding.ASCII.GetBytes(Introduction)));
        var error = Assert.Throws<RedisException>(() =>
        {
            using var connection =
                RedisConnection.Connect(
                Endpoint(listener), 0, Deadline.After(connected ? TimeSpan.FromSeconds(30) : TimeSpan.FromMilliseconds(200)));
            connection.Set("key"u8, "head"u8, new byte[64 << 20], 0, Deadline.After(TimeSpan.FromMilliseconds(200)));
        });
        Assert.Equal(RedisFailure.Deadline, error.Failure);
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.FromMilliseconds(190), TimeSpan.FromSeconds(10));
        server?.Dispose();
    }

    [Fact]
    public void A_server_that_sends_byte_by_byte_is_understood()
    {
        var names = new RedisKeySpace("kvcache");
        var key = new byte[names.KeyBytes];
        names.Write(TierFixture.Key(1), key);
        var text = Encoding.ASCII.GetString(key);
        Talk($"*2\r\n$2\r\n17\r\n*2\r\n${text.Length}\r\n{text}\r\n$3\r\nfoo\r\n{AnyLife}$5\r\nhello\r\n:1\r\n", byteByByte: true,
            body: connection =>
        {
            var page = new List<BlockKey>();
            Assert.Equal(17ul, connection.Scan(0, names, 10, page, Soon()));
            Assert.Equal([TierFixture.Key(1)], page);
            Assert.Equal(5, ReadFive(connection));
            Assert.True(connection.Exists("key"u8, Soon()));
        });
    }

    [Theory]
    [InlineData("localhost:6379", "localhost:6379", null, null, 0)]
    [InlineData("10.0.0.1:7000,password=a=b,db=4", "10.0.0.1:7000", null, "a=b", 4)]
    [InlineData("[::1]:6379,user=u,password=p", "[::1]:6379", "u", "p", 0)]
    [InlineData("unix:/run/redis.sock,db=1", "unix:/run/redis.sock", null, null, 1)]
    public void A_connection_string_is_understood(string text, string address, string? user, string? password, int database)
    {
        Assert.True(RedisEndpoint.TryParse(text, out var endpoint, out _));
        Assert.Equal((address, user, password, database), (endpoint.Text, endpoint.User, endpoint.Password, endpoint.Database));
    }

    [Theory]
    [InlineData("")]
    [InlineData("localhost")]
    [InlineData("localhost:0")]
    [InlineData("localhost:70000")]
    [InlineData("unix:relative")]
    [InlineData("host:1,db=x")]
    [InlineData("host:1,user=u")]
    [InlineData("host:1,ssl=true")]
    public void A_wrong_connection_string_is_explained(string text)
    {
        Assert.False(RedisEndpoint.TryParse(text, out _, out var problem));
        Assert.NotEmpty(problem);
    }

    // What is left of a key's life comes before its value.
    private const string AnyLife = ":-1\r\n";

    [Fact]
    public void A_life_that_is_refused_leaves_no_value_behind_on_the_connection() =>
        Assert.Equal(
            RedisFailure.Refused,
            Fails("-NOPERM No permissions to run the 'pttl' command\r\n$5\r\nhello\r\n", ReadFive).Failure);

    private static long ReadFive(RedisConnection connection)
    {
        var length = connection.Get("key"u8, out _, Soon());
        connection.ReadValue(new byte[5]);
        connection.EndValue();
        return length;
    }

    // What a server answers when a connection is made: it is a master, in no cluster; the name is taken; the connection's id.
    private const string Introduction = "$13\r\nrole:master\r\n\r\n$19\r\ncluster_enabled:0\r\n\r\n+OK\r\n:7\r\n";

    private static RedisException Fails<T>(string reply, Func<RedisConnection, T> call)
    {
        RedisException? error = null;
        Talk(reply, connection =>
        {
            error = Assert.Throws<RedisException>(() => call(connection));
            Assert.False(connection.IsUsable);
        });
        return error!;
    }

    // Replies wait in the kernel's buffers before they are asked for, so that one thread can play both sides.
    private static void Talk(string replies, Action<RedisConnection> body, bool byteByByte = false)
    {
        using var listener = Listen();
        Run(() =>
        {
            using var server = listener.Accept();
            server.NoDelay = true;
            var bytes = Encoding.ASCII.GetBytes(Introduction + replies);
            for (int sent = 0, step = byteByByte ? 1 : bytes.Length; sent < bytes.Length; sent += step)
                server.Send(bytes.AsSpan(sent, step));
            server.Shutdown(SocketShutdown.Send);
            while (server.Receive(new byte[1024]) > 0)
            {
            }
        });
        using var connection = RedisConnection.Connect(Endpoint(listener), 0, Soon());
        body(connection);
    }

    private static Socket Listen()
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        return listener;
    }

    private static RedisEndpoint Endpoint(Socket listener)
    {
        Assert.True(RedisEndpoint.TryParse(listener.LocalEndPoint!.ToString()!, out var endpoint, out _));
        return endpoint;
    }

    private static Deadline Soon() => Deadline.After(TimeSpan.FromSeconds(10));

    private static void Run(Action body) => new Thread(() =>
    {
        try
        {
            body();
        }
        catch (SocketException)
        {
            // The client has gone.
        }
    })
    { IsBackground = true }.Start();
}
