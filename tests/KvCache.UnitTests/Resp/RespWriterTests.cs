using System.Text;
using KvCache.Silo.Resp;
using KvCache.UnitTests.Resp;
using Xunit;

namespace KvCache.UnitTests;

public sealed class RespWriterTests
{
    private readonly ScriptedTransport _transport = new([]);

    [Fact]
    public void Both_versions_write_what_they_have_words_for()
    {
        Assert.Equal("$-1\r\n*2\r\n*0\r\n", Written(2, writer =>
        {
            writer.Null();
            writer.Map(1);
            writer.Array(0);
        }));
        Assert.Equal("_\r\n%1\r\n*0\r\n", Written(3, writer =>
        {
            writer.Null();
            writer.Map(1);
            writer.Array(0);
        }));
    }

    [Fact]
    public void Small_replies_leave_together_and_a_large_value_with_those_before_it()
    {
        var writer = new RespWriter(_transport);
        for (var i = 0; i < 100; i++)
            writer.Integer(i);
        Assert.Equal(0, _transport.Sends);
        writer.Bulk(new byte[100_000]);
        Assert.Equal(1, _transport.Sends);
        writer.Simple("OK"u8);
        writer.Flush();
        Assert.Equal(2, _transport.Sends);
        Assert.EndsWith("\r\n+OK\r\n", Encoding.ASCII.GetString([.. _transport.Sent]), StringComparison.Ordinal);
    }

    [Fact]
    public void Replies_longer_than_the_buffer_arrive_in_order()
    {
        var expected = string.Concat(Enumerable.Range(0, 10_000).Select(i => $":{i}\r\n$3\r\nabc\r\n"));
        Assert.Equal(expected, Written(2, writer =>
        {
            for (var i = 0; i < 10_000; i++)
            {
                writer.Integer(i);
                writer.Bulk("abc");
            }
        }));
    }

    [Fact]
    public void An_error_is_one_line_whatever_the_client_put_into_it()
    {
        var text = Written(2, writer => writer.Error("ERR unknown command 'a\r\n+OK\r\n" + new string('b', 100_000)));
        Assert.StartsWith("-ERR unknown command 'a  +OK  b", text, StringComparison.Ordinal);
        Assert.Equal(text.Length - 2, text.IndexOf('\r', StringComparison.Ordinal));
    }

    private string Written(int version, Action<RespWriter> write)
    {
        var writer = new RespWriter(_transport) { Version = version };
        _transport.Sent.Clear();
        write(writer);
        writer.Flush();
        return Encoding.ASCII.GetString([.. _transport.Sent]);
    }
}
