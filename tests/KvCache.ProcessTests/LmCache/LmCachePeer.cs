using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests.LmCache;

/// <summary>What describes a value: format, element type, four dimensions, location.</summary>
internal sealed record LmShape(int Format, int Type, int Location, int D0, int D1, int D2, int D3)
{
    public static LmShape Chunk { get; } = new(2, 3, 1, 2, 32, 256, 1024);
}

/// <summary>
/// A client of the lm:// endpoint as LMCache's is: 186 bytes of request, 36 bytes of reply, nothing behind a PUT. Written from the
/// description of the protocol, not from its source.
/// </summary>
internal sealed class LmCachePeer : IDisposable
{
    private readonly TcpClient _client = new() { NoDelay = true, ReceiveTimeout = (int)Eventually.Bound.TotalMilliseconds };

    public LmCachePeer(SiloProcess silo)
        : this(silo.Ready.LmCache)
    {
    }

    public LmCachePeer(string address) => _client.Connect(IPEndPoint.Parse(address));

    public void Put(string key, ReadOnlySpan<byte> value, LmShape shape)
    {
        SendHeader(1, key, value.Length, shape);
        SendRaw(value);
    }

    public (byte[] Value, LmShape Shape)? Get(string key)
    {
        SendHeader(2, key);
        var (code, length, shape) = Reply();
        if (code != 200)
            return null;
        var value = new byte[length];
        Receive(value);
        return (value, shape);
    }

    public bool Exists(string key)
    {
        SendHeader(3, key);
        return Reply().Code == 200;
    }

    public int Call(int command, string key = "")
    {
        SendHeader(command, key);
        return Reply().Code;
    }

    public void SendHeader(int command, string key, int length = 0, LmShape? shape = null)
    {
        var header = new byte[186];
        shape ??= new LmShape(1, 2, 0, 0, 0, 0, 0);
        int[] fields = [command, length, shape.Format, shape.Type, shape.Location, shape.D0, shape.D1, shape.D2, shape.D3];
        for (var i = 0; i < fields.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(i * 4), fields[i]);
        Encoding.UTF8.GetBytes(key.PadRight(150), header.AsSpan(36));
        SendRaw(header);
    }

    public void SendRaw(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
            bytes = bytes[_client.Client.Send(bytes)..];
    }

    /// <summary>Whether the silo has closed the connection.</summary>
    public bool IsClosed()
    {
        try
        {
            return _client.Client.Receive(new byte[1]) == 0;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return true;
        }
    }

    public (int Code, int Length, LmShape Shape) Reply()
    {
        var reply = new byte[36];
        Receive(reply);
        var fields = Enumerable.Range(0, 9).Select(i => BinaryPrimitives.ReadInt32LittleEndian(reply.AsSpan(i * 4))).ToArray();
        return (fields[0], fields[1], new LmShape(fields[2], fields[3], fields[8], fields[4], fields[5], fields[6], fields[7]));
    }

    public void Dispose() => _client.Dispose();

    private void Receive(Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            var got = _client.Client.Receive(destination);
            Assert.True(got > 0, "The silo closed the connection within a reply.");
            destination = destination[got..];
        }
    }
}
