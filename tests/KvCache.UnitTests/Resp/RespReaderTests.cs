using System.Net.Sockets;
using System.Text;
using CsCheck;
using KvCache.Silo.Resp;
using KvCache.UnitTests.Resp;
using Xunit;

namespace KvCache.UnitTests;

public sealed class RespReaderTests
{
    private static readonly Gen<byte[][]> Request = Gen.Byte.Array[0, 40].Array[1, 6];

    [Fact]
    public void Requests_of_any_bytes_are_read_from_a_pipeline_in_pieces_of_any_size() =>
        Gen.Select(Request.Array[1, 8], Gen.Int[1, 64].Array[1, 20]).Sample((requests, sizes) =>
        {
            var piece = 0;
            var reader = Reader(requests.SelectMany(Encode).ToArray(), () => sizes[piece++ % sizes.Length]);
            foreach (var request in requests)
            {
                Assert.True(reader.Wait());
                Assert.Equal(request, ReadRequest(reader));
            }

            Assert.False(reader.Wait());
        });

    [Fact]
    public void A_value_larger_than_the_buffer_arrives_whole_with_what_follows_it()
    {
        var value = new byte[300_000];
        new Random(1).NextBytes(value);
        var reader = Reader([.. Encode([value]), .. Encode(["PING"u8.ToArray()])], () => 7919);
        Assert.True(reader.Wait());
        Assert.Equal([value], ReadRequest(reader));
        Assert.True(reader.HasMore || reader.Wait());
        Assert.Equal(["PING"u8.ToArray()], ReadRequest(reader));
    }

    [Fact]
    public void A_request_that_is_cut_off_anywhere_ends_the_connection_and_never_looks_whole()
    {
        var whole = Encode(["SET"u8.ToArray(), "key"u8.ToArray(), "value"u8.ToArray()]);
        for (var length = 1; length < whole.Length; length++)
        {
            var reader = Reader(whole[..length], () => 3);
            Assert.True(reader.Wait());
            Assert.Throws<SocketException>(() => ReadRequest(reader));
        }
    }

    [Fact]
    public void Whatever_bytes_come_the_reader_ends_with_a_request_or_one_of_its_two_exceptions() =>
        Gen.Select(Request, Gen.Int[0, 1000], Gen.Byte).Sample((request, where, value) =>
        {
            var bytes = Encode(request);
            bytes[where % bytes.Length] = value;
            var reader = Reader(bytes, () => 5);
            try
            {
                while (reader.Wait())
                    ReadRequest(reader);
            }
            catch (Exception e) when (e is RespProtocolException or SocketException)
            {
                // The bytes are no requests, or the announced ones did not come.
            }
        });

    [Theory]
    [InlineData("*1048577\r\n", "Protocol error: invalid multibulk length")]
    [InlineData("*99999999999999999999\r\n", "Protocol error: invalid multibulk length")]
    [InlineData("*x\r\n", "Protocol error: invalid multibulk length")]
    [InlineData("*1\r\n:1\r\n", "Protocol error: expected '$', got ':'")]
    [InlineData("*1\r\n$-1\r\n", "Protocol error: invalid bulk length")]
    [InlineData("*1\r\n$2147483648\r\n", "Protocol error: invalid bulk length")]
    [InlineData("*1\r\n$1001\r\n", "Protocol error: invalid bulk length")]
    [InlineData("*1\r\n$\r\n", "Protocol error: invalid bulk length")]
    [InlineData("*1\r\n$1\r\nabc\r\n", "Protocol error: expected CRLF behind a bulk string")]
    [InlineData("SET \"a b\r\n", "Protocol error: unbalanced quotes in request")]
    public void A_hostile_head_is_named_and_costs_no_memory(string text, string message)
    {
        var reader = Reader(Encoding.ASCII.GetBytes(text));
        Assert.True(reader.Wait());
        Assert.Equal(message, Assert.Throws<RespProtocolException>(() => ReadRequest(reader)).Message);
    }

    [Theory]
    [InlineData("*11\r\n", "Protocol error: unauthenticated multibulk length")]
    [InlineData("*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length")]
    [InlineData("1 2 3 4 5 6 7 8 9 10 11\r\n", "Protocol error: unauthenticated multibulk length")]
    public void Whoever_has_not_authenticated_gets_less(string text, string message)
    {
        var reader = new RespReader(new ScriptedTransport(Encoding.ASCII.GetBytes(text)), () => { });
        Assert.True(reader.Wait());
        Assert.Equal(message, Assert.Throws<RespProtocolException>(() => ReadRequest(reader)).Message);
    }

    [Fact]
    public void A_line_without_an_end_is_given_up_after_64_KiB()
    {
        foreach (var text in new[] { new string('a', 100_000), "*" + new string('1', 100_000), "*1\r\n$" + new string('1', 100_000) })
        {
            var reader = Reader(Encoding.ASCII.GetBytes(text), () => 1000);
            Assert.True(reader.Wait());
            Assert.Contains("too big", Assert.Throws<RespProtocolException>(() => ReadRequest(reader)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_plain_line_is_a_request_and_an_empty_one_is_none()
    {
        var reader = Reader("\r\nset  \"a b\" 'c'\tdd\nPING\r\n"u8.ToArray(), () => 2);
        Assert.True(reader.Wait());
        Assert.Equal(0, reader.ReadHead());
        Assert.Equal(["set", "a b", "c", "dd"], ReadRequest(reader).Select(Encoding.ASCII.GetString));
        Assert.True(reader.Wait());
        Assert.Equal(["PING"], ReadRequest(reader).Select(Encoding.ASCII.GetString));
    }

    [Fact]
    public void What_was_answered_leaves_before_the_reader_waits()
    {
        var flushes = 0;
        var reader = new RespReader(
            new ScriptedTransport([.. Encode(["A"u8.ToArray()]), .. Encode(["B"u8.ToArray()])]), () => flushes++)
        { Trusted = true };
        Assert.True(reader.Wait());
        Assert.Equal(1, flushes);
        ReadRequest(reader);
        ReadRequest(reader);
        Assert.Equal(1, flushes); // a pipeline that is here is answered as a whole
        Assert.False(reader.Wait());
        Assert.Equal(2, flushes);
    }

    private static RespReader Reader(byte[] input, Func<int>? pieceSize = null) =>
        new(new ScriptedTransport(input, pieceSize), () => { }) { Trusted = true, MaxLength = input.Length > 1000 ? input.Length : 1000 };

    private static byte[][] ReadRequest(RespReader reader)
    {
        var request = new byte[reader.ReadHead()][];
        for (var i = 0; i < request.Length; i++)
        {
            request[i] = new byte[reader.ReadLength()];
            reader.ReadExact(request[i]);
            reader.ReadEnd();
        }

        return request;
    }

    private static byte[] Encode(byte[][] request) =>
        [.. Encoding.ASCII.GetBytes($"*{request.Length}\r\n"),
            .. request.SelectMany(argument => (byte[])[.. Encoding.ASCII.GetBytes($"${argument.Length}\r\n"), .. argument, .. "\r\n"u8])];
}
