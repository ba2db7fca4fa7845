using KvCache.ProcessTests.Resp;

namespace KvCache.ProcessTests;

/// <summary>What a web page can make its visitor's browser send to the Redis endpoint.</summary>
public sealed class RespCrossProtocolTests(RespSilo silo) : IClassFixture<RespSilo>
{
    [Theory]
    [InlineData("POST / HTTP/1.1\r\n")]
    [InlineData("post /\r\n")]
    [InlineData("PUT /v1/stats HTTP/1.1\r\n")]
    [InlineData("GET / HTTP/1.1\r\n")]
    [InlineData("Host: 127.0.0.1:7430\r\n")]
    [InlineData("PRI * HTTP/2.0\r\n")]
    public void The_connection_ends_at_the_first_line_of_HTTP(string line)
    {
        var key = Guid.NewGuid().ToString("N");
        using (var page = new RespPeer(silo.Process))
        {
            page.SendRaw(
                $"{line}Host: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\nSET {key} "
                + $"inline\r\n*3\r\n$3\r\nSET\r\n$32\r\n{key}\r\n$5\r\narray\r\n");
            Assert.StartsWith("-ERR Protocol error: this is no HTTP server", page.Reply(), StringComparison.Ordinal);
            Assert.Equal("closed", page.Reply());
        }

        using var reader = new RespPeer(silo.Process);
        Assert.Equal(":0", reader.Call("EXISTS", key));
        silo.Process.AssertHealthy();
    }

    [Fact]
    public void People_still_type_lines()
    {
        using var peer = new RespPeer(silo.Process);
        peer.SendRaw("SET typed POSTed\r\nGET typed\r\n");
        Assert.Equal("+OK", peer.Reply());
        Assert.Equal("\"POSTed\"", peer.Reply());
    }
}
