using System.Net.Sockets;

namespace KvCache.Bench.Raw;

/// <summary>Socket settings of both ends of a connection.</summary>
/// <param name="BufferBytes">SO_SNDBUF and SO_RCVBUF; 0 leaves them to the kernel, which then tunes them itself.</param>
/// <param name="Reno">
/// TCP congestion control "reno" instead of the host's default. Where that is BBR, pacing holds a loopback connection
/// to a fraction of what it can do. Reno is the one algorithm that every Linux lets every user choose.
/// </param>
internal readonly record struct SocketTuning(int BufferBytes, bool Reno)
{
    private const int IpprotoTcp = 6;
    private const int TcpCongestion = 13;
    private static readonly int[] Buffers = [0, 200_000, 1 << 20, 4 << 20];

    /// <summary>The settings worth trying.</summary>
    public static IEnumerable<SocketTuning> Candidates(RawTransport transport) => transport is RawTransport.Unix
        ? Buffers.Select(bytes => new SocketTuning(bytes, false))
        : Buffers.SelectMany(bytes => new SocketTuning[] { new(bytes, false), new(bytes, true) });

    public void Apply(Socket socket)
    {
        if (BufferBytes > 0)
        {
            socket.SendBufferSize = BufferBytes;
            socket.ReceiveBufferSize = BufferBytes;
        }
        if (socket.AddressFamily is AddressFamily.Unix)
            return;
        socket.NoDelay = true;
        if (Reno)
            socket.SetRawSocketOption(IpprotoTcp, TcpCongestion, "reno"u8);
    }

    public override string ToString() =>
        $"socket buffers {(BufferBytes == 0 ? "of the kernel" : $"{BufferBytes:N0}")}{(Reno ? ", reno" : "")}";
}
