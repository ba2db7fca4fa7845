using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using KvCache.Bench.Memory;
using KvCache.Bench.Transfer;

namespace KvCache.Bench.Raw;

/// <summary>The raw loop over <see cref="SslStream"/>, straight out of and into the same memory: the yardstick of <c>get.tls</c> and
/// <c>put.tls</c>.</summary>
internal static class RawTls
{
    /// <summary>Connects to the raw server.</summary>
    public static SslStream Connect(Socket socket)
    {
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false,
            (_, certificate, _, _) => certificate?.Subject == BenchCertificate.Subject);
        stream.AuthenticateAsClient("127.0.0.1");
        return stream;
    }

    /// <summary>Serves a connection until its client is gone, as <see cref="RawServer"/> does without TLS.</summary>
    public static void Serve(Socket connection, X509Certificate2 certificate, WarmBuffer memory, long place)
    {
        connection.NoDelay = true;
        using var stream = new SslStream(new NetworkStream(connection, ownsSocket: true));
        Span<byte> ack = stackalloc byte[RawRequest.AckBytes];
        ack.Clear();
        try
        {
            stream.AuthenticateAsServer(certificate);
            var free = place;
            while (TryReceive(stream, out var request))
            {
                for (var block = 0; block < request.Count; block++)
                {
                    var bytes = checked((int)request.Bytes);
                    if (request.Operation == RawOperation.Get)
                    {
                        stream.Write(memory.Slice(place + (block * request.Bytes), bytes));
                        continue;
                    }

                    if (free + bytes > memory.Length)
                        free = 0;
                    stream.ReadExactly(memory.Slice(free, bytes));
                    free += bytes;
                }

                if (request.Operation == RawOperation.Put)
                    stream.Write(ack);
            }
        }
        catch (IOException)
        {
            // The client is gone; it knows better than we do whether that was wanted.
        }
    }

    public static void Send(SslStream stream, in RawRequest request) =>
        stream.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<RawRequest>(in request)));

    private static bool TryReceive(SslStream stream, out RawRequest request)
    {
        request = default;
        var bytes = MemoryMarshal.AsBytes(new Span<RawRequest>(ref request));
        return stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) == bytes.Length;
    }
}

/// <summary>Asks for blocks and receives them.</summary>
internal sealed class RawTlsGetLane(SslStream stream, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    public void Run(int requests)
    {
        for (var request = 0; request < requests; request++)
        {
            RawTls.Send(stream, new RawRequest(RawOperation.Get, transfer.Batch, transfer.Bytes));
            stream.ReadExactly(buffers.Target.Slice(0, checked((int)transfer.RequestBytes)));
        }
    }

    public void Dispose() => stream.Dispose();
}

/// <summary>Sends blocks and waits for the acknowledgement.</summary>
internal sealed class RawTlsPutLane(SslStream stream, TransferCase transfer, LaneBuffers buffers) : ITransferLane
{
    public void Run(int requests)
    {
        Span<byte> ack = stackalloc byte[RawRequest.AckBytes];
        for (var request = 0; request < requests; request++)
        {
            RawTls.Send(stream, new RawRequest(RawOperation.Put, transfer.Batch, transfer.Bytes));
            for (var block = 0; block < transfer.Batch; block++)
                stream.Write(buffers.Source.Slice(block * transfer.Bytes, transfer.BlockLength));
            stream.ReadExactly(ack);
        }
    }

    public void Dispose() => stream.Dispose();
}
