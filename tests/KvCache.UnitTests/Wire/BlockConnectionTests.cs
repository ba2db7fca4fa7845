using System.Net;
using System.Net.Sockets;
using KvCache.Binary;
using KvCache.Caching;
using KvCache.Engine.Wire;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Questions and answers on one connection, with a peer that greets as a silo does and then answers what the test says.</summary>
public sealed class BlockConnectionTests
{
    [Fact]
    public async Task Requests_are_numbered_from_anywhere()
    {
        var numbers = new List<ulong>();
        for (var round = 0; round < 3; round++)
        {
            await TalkAsync(
                connection =>
                {
                    connection.Stat();
                    connection.Stat();
                },
                number =>
                {
                    numbers.Add(number);
                    return Frame(FrameType.StatReply, WireStatus.Ok, number);
                });
        }

        Assert.All(numbers, number => Assert.NotEqual(0UL, number >> 40)); // one in 16 million is lower by chance
        Assert.All(Enumerable.Range(0, 3), round => Assert.Equal(numbers[2 * round] + 1, numbers[(2 * round) + 1]));
    }

    [Fact]
    public Task An_answer_to_another_question_ends_the_connection() => TalkAsync(
        connection =>
            Assert.Contains("answered request", Assert.Throws<KvFormatException>(connection.Stat).Message, StringComparison.Ordinal),
        number => Frame(FrameType.StatReply, WireStatus.Ok, number + 1));

    [Fact]
    public Task An_error_of_another_question_ends_the_connection() => TalkAsync(
        connection => Assert.Throws<KvFormatException>(connection.Stat),
        number => Frame(FrameType.Error, WireStatus.InvalidRequest, number - 1, "No."));

    [Fact]
    public Task An_error_of_the_question_or_of_the_whole_connection_is_told() => TalkAsync(
        connection =>
            Assert.All(["Bye.", "No."],
            text => Assert.Contains(text, Assert.Throws<SiloException>(connection.Stat).Message, StringComparison.Ordinal)),
        number => Frame(FrameType.Error, WireStatus.ShuttingDown, 0, "Bye."),
        number => Frame(FrameType.Error, WireStatus.InvalidRequest, number, "No."));

    [Fact]
    public Task What_a_later_silo_says_more_is_passed_over() => TalkAsync(
        connection => Assert.Equal(4, connection.Stat().Length),
        number => Frame(FrameType.StatReply, WireStatus.Ok, number, "{}", 77));

    [Fact]
    public Task What_must_be_understood_and_is_not_ends_the_connection() => TalkAsync(
        connection => Assert.Contains("0x8001", Assert.Throws<KvFormatException>(connection.Stat).Message, StringComparison.Ordinal),
        number => Frame(FrameType.StatReply, WireStatus.Ok, number, "{}", 77, 0x8001));

    [Fact]
    public Task Fields_that_do_not_fit_end_the_connection() => TalkAsync(
        connection => Assert.Throws<KvFormatException>(connection.Stat),
        number =>
        {
            var frame = Frame(FrameType.StatReply, WireStatus.Ok, number, "{}", 77);
            frame[FrameHeader.Size + 4] = 200; // the length of the field
            FrameHeader.Write(frame, FrameType.StatReply, WireStatus.Ok, number, 0, WireFields.Unit);
            return frame;
        });

    private static byte[] Frame(FrameType type, WireStatus status, ulong number, string? text = null, params ushort[] fields)
    {
        var writer = new WireWriter();
        writer.Take(FrameHeader.Size);
        foreach (var tag in fields)
            WireFields.Add(writer, tag, 5);
        WireFields.End(writer);
        if (text is not null)
            writer.Text(text);
        FrameHeader.Write(writer.Writable, type, status, number, 0, writer.FieldBytes);
        return writer.Written.ToArray();
    }

    // The last answer stands for all that follow.
    private static async Task TalkAsync(Action<BlockConnection> talk, params Func<ulong, byte[]>[] answers)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        var peer = Task.Run(() => Serve(listener, answers), TestContext.Current.CancellationToken);
        await Task.Run(
            () =>
            {
                using var connection = BlockConnection.Connect(SiloEndpoint.TryParse($"tcp:{listener.LocalEndPoint}")!, "default", "");
                talk(connection);
            },
            TestContext.Current.CancellationToken);
        await peer;
    }

    private static void Serve(Socket listener, Func<ulong, byte[]>[] answers)
    {
        using var socket = listener.Accept();
        var (_, hello) = Receive(socket)!.Value;
        var (number, meta) = hello;
        var serverNonce = new byte[WireProtocol.NonceSize];
        var reply = new WireWriter();
        reply.Take(FrameHeader.Size);
        reply.UInt16(WireProtocol.Version);
        reply.Bytes(serverNonce);
        FrameHeader.Write(reply.Writable, FrameType.HelloReply, WireStatus.Ok, number, 0);
        socket.Send(reply.Written);

        (_, (number, _)) = Receive(socket)!.Value;
        var proof = new WireWriter();
        proof.Take(FrameHeader.Size);
        proof.Bytes(WireProtocol.ServerProof([], meta.AsSpan(4, WireProtocol.NonceSize), serverNonce, "default"));
        proof.UInt32(WireProtocol.MaxMetaBytes);
        proof.UInt32(WireProtocol.MaxBlocksPerRequest);
        proof.UInt32(1000);
        FrameHeader.Write(proof.Writable, FrameType.AuthenticateReply, WireStatus.Ok, number, 0);
        socket.Send(proof.Written);

        for (var next = 0; Receive(socket) is var (_, (asked, _)); next++)
            socket.Send(answers[Math.Min(next, answers.Length - 1)](asked));
    }

    private static (FrameType Type, (ulong Number, byte[] Meta) Request)? Receive(Socket socket)
    {
        var head = new byte[FrameHeader.Size];
        if (!Fill(socket, head))
            return null;
        var header = FrameHeader.Parse(head, WireProtocol.MaxMetaBytes, 0);
        var meta = new byte[header.MetaLength];
        return Fill(socket, meta) ? (header.Type, (header.RequestId, meta)) : null;
    }

    private static bool Fill(Socket socket, byte[] bytes)
    {
        for (var done = 0; done < bytes.Length;)
        {
            int got;
            try
            {
                got = socket.Receive(bytes.AsSpan(done));
            }
            catch (SocketException)
            {
                return false;
            }

            if (got == 0)
                return false;
            done += got;
        }

        return true;
    }
}
