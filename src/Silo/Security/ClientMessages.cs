using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net;
using KvCache.Grains.Prefixes;
using Microsoft.AspNetCore.Connections;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization.Buffers;

namespace KvCache.Silo.Security;

/// <summary>
/// What a client's connection may bring into the cluster, looked at before Orleans reads it: requests of its own tenant's prefixes and
/// tickets, and of what a client needs to start. Orleans believes the head of a message: a message may say where a grain is, so that it is
/// activated without a placement, or to which address the silo shall connect; it may be the answer to somebody else's call, and it may come
/// with a hash code of the sender's choice.
/// </summary>
/// <remarks>
/// A request of anything else goes on with a target that is nowhere (<see cref="Nowhere"/>): Orleans looks for a place for it, and
/// <see cref="CallGuard.CheckPlacement"/> refuses that with a sentence. A silo that knows an old place of the grain, where Orleans would
/// activate it for whoever calls, is not asked for it.
/// </remarks>
/// <param name="tenant">Who has proved its secret on the connection.</param>
/// <param name="gateway">Address of this gateway.</param>
/// <param name="preamble">What the client has said of itself, its name among it.</param>
/// <param name="patience">Time in which the client takes an answer; null for <see cref="ClientAnswers.Patience"/>.</param>
internal sealed class ClientMessages(TenantId tenant, SiloAddress gateway, byte[] preamble, TimeSpan? patience = null) : IDisposable
{
    /// <summary>Longest head of a message: a request context is in it, and with that the ticket.</summary>
    internal const int MostHeadBytes = 16 * 1024;

    /// <summary>Longest message: a piece of a block is the longest that there is.</summary>
    internal const int MostBytes = 256 * 1024;

    /// <summary>Lengths of head and body, in front of them.</summary>
    internal const int FramingBytes = 2 * sizeof(int);

    /// <summary>Front of a head: flags and the number of the call.</summary>
    internal const int FrontBytes = sizeof(uint) + sizeof(long);

    // Orleans 10.4: the first 32 bits of a head.
    private const uint CacheUpdates = 1 << 7, LocalOnly = 1 << 9;
    private const uint Direction = 0x000F_0000, Request = 1 << 16, Response = 2 << 16, OneWay = 3 << 16;

    private static readonly GrainType Manifest = SystemTargetGrainId.CreateGrainType("manifest");

    private readonly string _tickets = tenant.ToString();
    private readonly ClientAnswers _answers = new(patience ?? ClientAnswers.Patience);

    /// <summary>Type of grains that there are none of.</summary>
    public static GrainType Nowhere { get; } = GrainType.Create("kvcache.nowhere");

    /// <summary>Runs the rest of a connection on what this lets through.</summary>
    /// <param name="connection">The connection, of which preamble and messages were not read yet.</param>
    /// <param name="next">The rest.</param>
    /// <returns>Why the connection was ended; null when it ended by itself.</returns>
    public async Task<string?> RunAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        var outer = connection.Transport;
        var options = new PipeOptions(useSynchronizationContext: false);
        Pipe requests = new(options), answers = new(options);
        connection.Transport = new Duplex(requests.Reader, answers.Writer);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed);
        var passing = EndAsync(PassAsync(outer.Input, requests.Writer, ended.Token), connection, outer.Input, requests.Writer);
        var answering = EndAsync(_answers.PassAsync(answers.Reader, outer.Output), connection, answers.Reader, outer.Output);
        try
        {
            await next(connection);
        }
        finally
        {
            await ended.CancelAsync();
            await requests.Reader.CompleteAsync();
            await answers.Writer.CompleteAsync();
        }

        var (wrong, slow) = (await passing, await answering);
        return wrong ?? slow;
    }

    public void Dispose() => _answers.Dispose();

    /// <summary>Writes a message's head as it may go on.</summary>
    /// <param name="head">The head as it came.</param>
    /// <param name="passed">Takes the head; nothing when the message goes nowhere.</param>
    /// <returns>What is wrong with the whole connection; null when nothing is.</returns>
    internal string? Pass(ReadOnlySpan<byte> head, ArrayBufferWriter<byte> passed)
    {
        var reader = Reader.Create(head, null!);
        GrainId sender, target;
        SiloAddress? silo;
        uint flags;
        int targetAt, siloAt, rest;
        try
        {
            flags = reader.ReadUInt32();
            reader.ReadInt64();
            sender = ReadId(ref reader);
            targetAt = (int)reader.Position;
            target = ReadId(ref reader);
            reader.Skip(reader.ReadVarUInt32()); // the sender's silo, which is this one
            siloAt = (int)reader.Position;
            silo = ReadSilo(ref reader);
            rest = (int)reader.Position;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return "it sent a message whose head is none of Orleans'";
        }

        if (!IsTrue(sender) || !IsTrue(target))
            return "it sent a hash code that is another one";
        if (!sender.IsClient() || sender.Key.AsSpan().IsEmpty || preamble.AsSpan().IndexOf(sender.Key.AsSpan()) < 0)
            return "it named a sender that it is not";
        if ((flags & (CacheUpdates | LocalOnly)) != 0)
            return "it sent what only silos tell one another";
        if ((flags & Direction) is Response)
            return null; // no silo asks a client for anything
        if ((flags & Direction) is not (Request or OneWay))
            return "it sent a message that is no request";
        var isManifest = target.Type == Manifest && IsHere(silo);
        passed.Write(head[..targetAt]);
        var writer = Writer.Create(passed, null!);
        WriteId(ref writer, isManifest || IsOwn(target) ? target : new GrainId(Nowhere, target.Key));
        writer.WriteVarUInt32(0);
        if (!isManifest)
            writer.WriteVarUInt32(0);
        writer.Commit();
        passed.Write(head[(isManifest ? siloAt : rest)..]);
        return null;
    }

    /// <summary>Whether somebody waits for an answer to a message.</summary>
    internal static bool IsRequest(ReadOnlySpan<byte> head) => (FlagsOf(head) & Direction) == Request;

    /// <summary>Whether a message is an answer.</summary>
    internal static bool IsAnswer(ReadOnlySpan<byte> head) => (FlagsOf(head) & Direction) == Response;

    /// <summary>Number of a call, in its request and its answer.</summary>
    internal static long IdOf(ReadOnlySpan<byte> head) => BinaryPrimitives.ReadInt64LittleEndian(head[sizeof(uint)..]);

    private static uint FlagsOf(ReadOnlySpan<byte> head) => BinaryPrimitives.ReadUInt32LittleEndian(head);

    private static GrainId ReadId<TInput>(ref Reader<TInput> reader)
    {
        var type = IdSpanCodec.ReadRaw(ref reader);
        return new GrainId(new GrainType(type), IdSpanCodec.ReadRaw(ref reader));
    }

    // Length, hash code, address, port and generation. Null for none, and for a hash code that is another one.
    private static SiloAddress? ReadSilo<TInput>(ref Reader<TInput> reader)
    {
        if (reader.ReadVarUInt32() == 0)
            return null;
        var hash = reader.ReadInt32();
        var address = new IPAddress(reader.ReadBytes(reader.ReadVarUInt32()));
        var silo = SiloAddress.New(address, (ushort)reader.ReadVarUInt32(), reader.ReadInt32());
        return silo.GetConsistentHashCode() == hash ? silo : null;
    }

    private static void WriteId<TOutput>(ref Writer<TOutput> writer, GrainId id)
        where TOutput : IBufferWriter<byte>
    {
        IdSpanCodec.WriteRaw(ref writer, id.Type.Value);
        IdSpanCodec.WriteRaw(ref writer, id.Key);
    }

    // The hash code travels with an id and is believed: another one makes a second grain of the same name.
    private static bool IsTrue(GrainId id) => IsTrue(id.Type.Value) && IsTrue(id.Key);

    private static bool IsTrue(IdSpan span) =>
        span.IsDefault || new IdSpan(span.AsSpan().ToArray()).GetHashCode() == span.GetHashCode();

    private bool IsOwn(GrainId target) =>
        (target.Type == PrefixGrain.Type && BlockKey.TryParseGrainKey(target.Key.ToString(), out var key) && key.Namespace.Tenant == tenant)
        || (target.Type == TicketGrain.Type && target.Key.ToString() == _tickets);

    // Whoever asks another silo is sent there by Orleans, wherever it is: the silo would connect to an address of the client's choice.
    private bool IsHere(SiloAddress? silo) => silo is not null && silo.Generation == gateway.Generation
        && silo.Endpoint.Port == gateway.Endpoint.Port
        && (silo.Endpoint.Address.Equals(gateway.Endpoint.Address) || IPAddress.IsLoopback(silo.Endpoint.Address));

    private static async Task<string?> EndAsync(Task<string?> passing, ConnectionContext connection, PipeReader from, PipeWriter to)
    {
        string? problem = null;
        try
        {
            problem = await passing;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or InvalidOperationException)
        {
            // The connection has ended.
        }

        if (problem is not null)
            connection.Abort(new ConnectionAbortedException(problem));
        await to.CompleteAsync();
        await from.CompleteAsync();
        return problem;
    }

    private async Task<string?> PassAsync(PipeReader from, PipeWriter to, CancellationToken ended) =>
        await PassPreambleAsync(from, to, ended) ? await PassMessagesAsync(from, to, ended) : null;

    private async Task<bool> PassPreambleAsync(PipeReader from, PipeWriter to, CancellationToken ended)
    {
        var read = await from.ReadAtLeastAsync(preamble.Length, ended);
        if (read.Buffer.Length < preamble.Length)
            return false;
        to.Write(preamble);
        from.AdvanceTo(read.Buffer.GetPosition(preamble.Length));
        return !(await to.FlushAsync(ended)).IsCompleted;
    }

    private async Task<string?> PassMessagesAsync(PipeReader from, PipeWriter to, CancellationToken ended)
    {
        var framing = new byte[FramingBytes];
        var passed = new ArrayBufferWriter<byte>(256);
        while (true)
        {
            var read = await from.ReadAtLeastAsync(FramingBytes, ended);
            if (read.Buffer.Length < FramingBytes)
                return null;
            read.Buffer.Slice(0, FramingBytes).CopyTo(framing);
            var (head, body) = (BinaryPrimitives.ReadInt32LittleEndian(framing),
                BinaryPrimitives.ReadInt32LittleEndian(framing.AsSpan(sizeof(int))));
            if (head is <= 0 or > MostHeadBytes || (uint)body > MostBytes)
                return $"it sent a message of {(uint)head} and {(uint)body} bytes; at most {MostHeadBytes} and {MostBytes} are taken";
            from.AdvanceTo(read.Buffer.Start);
            var bytes = FramingBytes + head + body;
            read = await from.ReadAtLeastAsync(bytes, ended);
            if (read.Buffer.Length < bytes)
                return null;
            passed.ResetWrittenCount();
            var came = read.Buffer.Slice(FramingBytes, head);
            if (Pass(came.IsSingleSegment ? came.FirstSpan : came.ToArray(), passed) is { } problem)
                return problem;
            if (passed.WrittenCount > 0)
            {
                if (IsRequest(passed.WrittenSpan) && !await _answers.TryBeginAsync(IdOf(passed.WrittenSpan), ended))
                    return "it gave two calls the same number";
                BinaryPrimitives.WriteInt32LittleEndian(framing, passed.WrittenCount);
                to.Write(framing);
                to.Write(passed.WrittenSpan);
                foreach (var piece in read.Buffer.Slice(FramingBytes + head, body))
                    to.Write(piece.Span);
            }

            from.AdvanceTo(read.Buffer.GetPosition(bytes));
            if ((await to.FlushAsync(ended)).IsCompleted)
                return null;
        }
    }

    private sealed record Duplex(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
