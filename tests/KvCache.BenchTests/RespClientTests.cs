using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.Bench.Redis;

namespace KvCache.BenchTests;

public sealed class RespClientTests
{
    [Theory]
    [InlineData("$5\r\nhello\r\n")]
    [InlineData("$05\r\nhello\r\n")]
    public void A_value_arrives_whole(string reply)
    {
        var target = new byte[8];
        Assert.Equal(5, Receive(reply, client => client.ReceiveValue(target)));
        Assert.Equal("hello", Encoding.ASCII.GetString(target, 0, 5));
    }

    [Fact]
    public void A_value_larger_than_the_line_buffer_and_the_reply_behind_it_arrive_whole()
    {
        var value = string.Concat(Enumerable.Range(0, 20_000).Select(i => (char)('a' + i % 26)));
        var target = new byte[value.Length];
        var (length, next) =
            Receive($"${value.Length}\r\n{value}\r\n:42\r\n", client => (client.ReceiveValue(target), client.ReceiveNumber()));
        Assert.Equal(value.Length, length);
        Assert.Equal(value, Encoding.ASCII.GetString(target));
        Assert.Equal(42, next);
    }

    [Fact]
    public void A_missing_key_is_minus_one() =>
        Assert.Equal(-1, Receive("$-1\r\n", client => client.ReceiveValue(new byte[8])));

    [Theory]
    [InlineData("$9\r\nninebytes\r\n")] // larger than the target
    [InlineData("$-2\r\n")]
    [InlineData("$\r\n")]
    [InlineData("$5x\r\nhello\r\n")]
    [InlineData("$99999999999999999999\r\n")]
    [InlineData("$5\r\nhelloXY")] // no line end behind the value
    [InlineData("$5\r\nhel")] // closed within the value
    [InlineData("$5")] // closed within the line
    [InlineData("")]
    [InlineData("\r\n")]
    [InlineData("+OK\r\n")]
    [InlineData(":5\r\n")]
    [InlineData("-OOM command not allowed\r\n")]
    public void A_malformed_or_refusing_reply_is_an_error(string reply) =>
        AssertFails(() => Receive(reply, client => client.ReceiveValue(new byte[8])));

    [Fact]
    public void A_line_without_end_is_an_error() =>
        AssertFails(() => Receive("$" + new string('1', 50_000), client => client.ReceiveValue(new byte[8])));

    [Theory]
    [InlineData("+QUEUED\r\n")]
    [InlineData("$2\r\nOK\r\n")]
    [InlineData("-READONLY\r\n")]
    public void Only_ok_is_ok(string reply) =>
        AssertFails(() => Receive(reply, client =>
        {
            client.ReceiveOk();
            return 0;
        }));

    [Fact]
    public void An_error_carries_the_words_of_redis()
    {
        var error = Assert.Throws<IOException>(() => Receive("-OOM command not allowed\r\n", client => client.ReceiveValue(new byte[8])));
        Assert.Contains("OOM command not allowed", error.Message, StringComparison.Ordinal);
    }

    private static void AssertFails<T>(Func<T> receive) => Assert.ThrowsAny<IOException>(() => receive());

    private static T Receive<T>(string reply, Func<RespClient, T> receive)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        using var client = RespClient.Connect(listener.LocalEndPoint!, default);
        using var server = listener.Accept();
        // All replies here fit into the socket buffers, so that one thread can play both sides.
        server.Send(Encoding.ASCII.GetBytes(reply));
        server.Shutdown(SocketShutdown.Send);
        return receive(client);
    }
}
