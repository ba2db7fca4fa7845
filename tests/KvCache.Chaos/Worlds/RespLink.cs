using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace KvCache.Chaos.Worlds;

/// <summary>A reply of Redis' protocol that says that something went wrong.</summary>
internal sealed class RespError(string message) : Exception(message);

/// <summary>One connection that speaks Redis' protocol: to a Redis, or to a silo that answers like one. One call at a time.</summary>
internal sealed class RespLink : IDisposable
{
    private readonly Socket _socket;
    private readonly byte[] _buffer = new byte[64 << 10];
    private int _start, _end;

    private RespLink(Socket socket) => _socket = socket;

    /// <exception cref="SocketException">Nobody listens, or not in time.</exception>
    public static RespLink Connect(IPEndPoint address, TimeSpan limit)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
        {
            NoDelay = true,
            SendTimeout = (int)limit.TotalMilliseconds,
            ReceiveTimeout = (int)limit.TotalMilliseconds,
        };
        try
        {
            if (!socket.ConnectAsync(address).Wait(limit))
                throw new SocketException((int)SocketError.TimedOut);
            return new RespLink(socket);
        }
        catch (AggregateException e)
        {
            socket.Dispose();
            throw e.InnerException!;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Calls a command, and waits for its answer: text as bytes, a number as a long, an array, nothing as null.</summary>
    /// <exception cref="SocketException">The connection broke, or there was no answer in time.</exception>
    /// <exception cref="RespError">The answer is an error.</exception>
    public object? Call(params object[] words)
    {
        var request = new MemoryStream();
        Write(request, $"*{words.Length}\r\n");
        foreach (var word in words)
        {
            var bytes = word as byte[] ?? Encoding.UTF8.GetBytes(Convert.ToString(word, CultureInfo.InvariantCulture)!);
            Write(request, $"${bytes.Length}\r\n");
            request.Write(bytes);
            Write(request, "\r\n");
        }

        var rest = request.GetBuffer().AsSpan(0, (int)request.Length);
        while (rest.Length > 0)
            rest = rest[_socket.Send(rest)..];
        return Reply();
    }

    public void Dispose() => _socket.Dispose();

    private static void Write(MemoryStream stream, string text) => stream.Write(Encoding.ASCII.GetBytes(text));

    private object? Reply()
    {
        var line = Line();
        var rest = line[1..];
        switch (line[0])
        {
            case '+':
                return Encoding.UTF8.GetBytes(rest);
            case '-':
                throw new RespError(rest);
            case ':':
                return long.Parse(rest, CultureInfo.InvariantCulture);
            case '$':
                var length = int.Parse(rest, CultureInfo.InvariantCulture);
                return length < 0 ? null : Bytes(length);
            case '*':
                var count = int.Parse(rest, CultureInfo.InvariantCulture);
                var items = new object?[Math.Max(0, count)];
                for (var i = 0; i < items.Length; i++)
                    items[i] = Reply();
                return items;
            case '_':
                return null;
            default:
                throw new RespError($"'{line}' is no reply.");
        }
    }

    private string Line()
    {
        var line = new StringBuilder();
        while (true)
        {
            var next = (char)Byte();
            if (next == '\r')
            {
                Byte();
                return line.Length > 0 ? line.ToString() : throw new RespError("An empty line is no reply.");
            }

            line.Append(next);
        }
    }

    private byte[] Bytes(int length)
    {
        var bytes = new byte[length];
        for (var i = 0; i < length;)
        {
            if (_start == _end)
                Fill();
            var some = Math.Min(length - i, _end - _start);
            _buffer.AsSpan(_start, some).CopyTo(bytes.AsSpan(i));
            _start += some;
            i += some;
        }

        Byte();
        Byte();
        return bytes;
    }

    private byte Byte()
    {
        if (_start == _end)
            Fill();
        return _buffer[_start++];
    }

    private void Fill()
    {
        (_start, _end) = (0, _socket.Receive(_buffer));
        if (_end == 0)
            throw new SocketException((int)SocketError.ConnectionReset);
    }
}
