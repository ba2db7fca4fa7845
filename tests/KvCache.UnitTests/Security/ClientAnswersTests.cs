using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net;
using System.Text;
using KvCache.Silo.Security;
using KvCache.Testing;
using Microsoft.AspNetCore.Connections;
using Orleans.Runtime;
using Orleans.Serialization.Buffers;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>How many calls a client's connection at the gateway runs, and what becomes of one that takes no answers.</summary>
public sealed class ClientAnswersTests
{
    private const uint Request = 1 << 16, Response = 2 << 16;
    private const string Client = "0123456789abcdef0123456789abcdef";
    private static readonly TenantId Acme = TenantId.Of("acme");
    private static readonly byte[] Preamble = [32, 0, 0, 0, .. Encoding.UTF8.GetBytes(Client)];

    [Fact]
    public async Task So_many_calls_run_at_a_time_and_the_next_one_when_an_answer_has_gone()
    {
        await using var door = new Door(TimeSpan.FromMinutes(1));
        for (var call = 0; call <= ClientAnswers.MostRunning; call++)
            await door.Client.Output.WriteAsync(Frame(Request, call));
        Assert.Equal(Preamble, await door.Silo.Input.TakeAsync(Preamble.Length));
        for (var call = 0; call < ClientAnswers.MostRunning; call++)
            Assert.Equal(Frame(Request, call), await door.Silo.Input.TakeAsync(Frame(Request, call).Length));
        Assert.False(door.Silo.Input.TryRead(out _));

        await door.Silo.Output.WriteAsync(Preamble);
        await door.Silo.Output.WriteAsync(Frame(Response, 7));

        byte[] sent = [.. Preamble, .. Frame(Response, 7)];
        Assert.Equal(sent, await door.Client.Input.TakeAsync(sent.Length));
        var next = Frame(Request, ClientAnswers.MostRunning);
        Assert.Equal(next, await door.Silo.Input.TakeAsync(next.Length));
    }

    [Fact]
    public async Task Whoever_takes_no_answers_is_ended()
    {
        await using var door = new Door(TimeSpan.FromMilliseconds(50));
        await door.Silo.Output.WriteAsync(Preamble);
        var answer = Frame(Response, 1, body: 100_000);

        while (!door.Aborted)
        {
            if ((await door.Silo.Output.WriteAsync(answer)).IsCompleted)
                break;
        }

        Assert.Contains("does not take its answers", await door.EndedAsync(), StringComparison.Ordinal);
        Assert.True(door.Aborted);
    }

    [Fact]
    public async Task Two_calls_of_one_number_and_messages_that_are_too_large_end_the_connection()
    {
        await using (var door = new Door(TimeSpan.FromMinutes(1)))
        {
            await door.Client.Output.WriteAsync(Frame(Request, 1));
            await door.Client.Output.WriteAsync(Frame(Request, 1));
            Assert.Contains("the same number", await door.EndedAsync(), StringComparison.Ordinal);
        }

        foreach (var (head, body) in new[] { (ClientMessages.MostHeadBytes + 1, 0), (-1, 0), (100, ClientMessages.MostBytes + 1), (100, -1) })
        {
            await using var door = new Door(TimeSpan.FromMinutes(1));
            var framing = new byte[8];
            BinaryPrimitives.WriteInt32LittleEndian(framing, head);
            BinaryPrimitives.WriteInt32LittleEndian(framing.AsSpan(4), body);
            await door.Client.Output.WriteAsync(framing);
            Assert.Contains("at most", await door.EndedAsync(), StringComparison.Ordinal);
        }
    }

    private static byte[] Frame(uint flags, long number, int body = 3)
    {
        var bytes = new ArrayBufferWriter<byte>();
        bytes.Write(new byte[8]);
        var writer = Writer.Create(bytes, null!);
        writer.WriteUInt32(flags);
        writer.WriteInt64(number);
        var key = new BlockKey(new NamespaceId(Acme, 7), new BlockHash(new byte[32])).ToGrainKey();
        foreach (var id in new[] { GrainId.Create("sys.client", Client), GrainId.Create("prefix", key) })
        {
            IdSpanCodec.WriteRaw(ref writer, id.Type.Value);
            IdSpanCodec.WriteRaw(ref writer, id.Key);
        }

        writer.WriteVarUInt32(0);
        writer.WriteVarUInt32(0);
        writer.Commit();
        bytes.Write(new byte[body]);
        var frame = bytes.WrittenSpan.ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(frame, frame.Length - 8 - body);
        BinaryPrimitives.WriteInt32LittleEndian(frame.AsSpan(4), body);
        return frame;
    }

    /// <summary>A connection, with the client at one end and Orleans at the other.</summary>
    private sealed class Door : IAsyncDisposable
    {
        private readonly Pipe _requests = new(), _answers = new();
        private readonly TaskCompletionSource<IDuplexPipe> _began = new();
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly ClientMessages _messages;
        private readonly Task<string?> _running;

        public Door(TimeSpan patience)
        {
            Client = new End(_answers.Reader, _requests.Writer);
            _messages = new ClientMessages(Acme, SiloAddress.New(IPAddress.Loopback, 7411, 0), Preamble, patience);
            _requests.Writer.Write(Preamble);
            _running = _messages.RunAsync(new Aborting(this, new End(_requests.Reader, _answers.Writer)), async context =>
            {
                _began.SetResult(context.Transport);
                await _end.Task;
            });
        }

        public IDuplexPipe Client { get; }

        public IDuplexPipe Silo => _began.Task.GetAwaiter().GetResult();

        public bool Aborted { get; private set; }

        /// <summary>Waits until the connection is ended.</summary>
        /// <returns>Why.</returns>
        public Task<string?> EndedAsync() => _running.WaitAsync(Eventually.Bound);

        public async ValueTask DisposeAsync()
        {
            _end.TrySetResult();
            await _running;
            _messages.Dispose();
        }

        private sealed record End(PipeReader Input, PipeWriter Output) : IDuplexPipe;

        private sealed class Aborting(Door door, IDuplexPipe transport) : ConnectionContext
        {
            public override string ConnectionId { get; set; } = "1";

            public override Microsoft.AspNetCore.Http.Features.IFeatureCollection Features { get; } = new Microsoft.AspNetCore.Http.Features.FeatureCollection();

            public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

            public override IDuplexPipe Transport { get; set; } = transport;

            public override void Abort(ConnectionAbortedException abortReason)
            {
                door.Aborted = true;
                door._end.TrySetResult();
            }
        }
    }
}

internal static class PipeReading
{
    public static async Task<byte[]> TakeAsync(this PipeReader reader, int bytes)
    {
        var read = await reader.ReadAtLeastAsync(bytes).AsTask().WaitAsync(Eventually.Bound);
        var taken = read.Buffer.Slice(0, bytes).ToArray();
        reader.AdvanceTo(read.Buffer.GetPosition(bytes));
        return taken;
    }
}
