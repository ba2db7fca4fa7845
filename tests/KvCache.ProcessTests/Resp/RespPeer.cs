using System.Globalization;
using System.Net.Sockets;
using System.Text;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests.Resp;

/// <summary>
/// A client of the Redis endpoint that sends exact bytes and shows replies as short text: <c>+OK</c>, <c>:1</c>, <c>"value"</c>,
/// <c>nil</c>,
/// <c>[a, b]</c>, <c>{key: value}</c>, <c>-ERR …</c>.
/// </summary>
internal sealed class RespPeer : IDisposable
{
    private readonly TcpClient _client;
    private readonly BufferedStream _stream;

    public RespPeer(SiloProcess silo)
        : this(silo.Ready.Resp)
    {
    }

    public RespPeer(string address)
    {
        var endpoint = System.Net.IPEndPoint.Parse(address);
        _client = new TcpClient { NoDelay = true, ReceiveTimeout = (int)Eventually.Bound.TotalMilliseconds };
        _client.Connect(endpoint);
        _stream = new BufferedStream(_client.GetStream(), 64 * 1024);
    }

    /// <summary>Sends a request of words and returns the reply.</summary>
    public string Call(params string[] words)
    {
        Send(words);
        return Reply();
    }

    /// <summary>Sends a request of bytes and returns the reply.</summary>
    public string Call(string command, string key, ReadOnlySpan<byte> value)
    {
        SendRaw(Encoding.ASCII.GetBytes($"*3\r\n${command.Length}\r\n{command}\r\n${key.Length}\r\n{key}\r\n${value.Length}\r\n"));
        SendRaw(value);
        SendRaw("\r\n"u8);
        return Reply();
    }

    public void Send(params string[] words) =>
        SendRaw(Encoding.UTF8.GetBytes(
            string.Concat([$"*{words.Length}\r\n", .. words.Select(word => $"${Encoding.UTF8.GetByteCount(word)}\r\n{word}\r\n")])));

    public void SendRaw(ReadOnlySpan<byte> bytes) => _client.Client.Send(bytes);

    public void SendRaw(string text) => SendRaw(Encoding.UTF8.GetBytes(text));

    /// <summary>Reads a reply; "closed" when the silo has closed the connection.</summary>
    public string Reply()
    {
        string line;
        try
        {
            line = Line();
        }
        catch (Exception e)
            when (e is EndOfStreamException
            or IOException { InnerException: SocketException { SocketErrorCode: SocketError.ConnectionReset } })
        {
            return "closed";
        }

        var rest = line[1..];
        switch (line[0])
        {
            case '$' or '*' when rest == "-1":
            case '_':
                return "nil";
            case '$':
                return $"\"{Encoding.UTF8.GetString(Bytes(Number(rest)))}\"";
            case '*':
                return $"[{string.Join(", ", Enumerable.Range(0, Number(rest)).Select(_ => Reply()))}]";
            case '%':
                return $"{{{string.Join(", ", Enumerable.Range(0, Number(rest)).Select(_ => $"{Reply()}: {Reply()}"))}}}";
            default:
                return line;
        }
    }

    /// <summary>Reads a reply that is a string.</summary>
    public byte[]? Value()
    {
        var line = Line();
        Assert.True(line[0] is '$' or '_', line);
        if (line is "$-1" or "_")
            return null;
        return Bytes(Number(line[1..]));
    }

    public void Dispose() => _client.Dispose();

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        _stream.ReadExactly(bytes);
        Assert.Equal("", Line());
        return bytes;
    }

    private string Line()
    {
        var line = new List<byte>();
        while (true)
        {
            var next = _stream.ReadByte();
            if (next < 0)
                throw new EndOfStreamException();
            if (next == '\n')
                break;
            line.Add((byte)next);
        }

        Assert.Equal((byte)'\r', line[^1]);
        return Encoding.UTF8.GetString([.. line[..^1]]);
    }
}
