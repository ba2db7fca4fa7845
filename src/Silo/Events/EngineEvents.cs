using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using KvCache.Engine.Events;
using KvCache.Engine.Wire;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Events;

/// <summary>Listens to the engines' event sockets, so that the index also knows what lies in GPUs.</summary>
internal sealed partial class EngineEvents : ILoop
{
    // A batch of a long prefill has a few hundred KiB.
    private const int MaxFrameBytes = 16 << 20;
    private const int MaxParts = 8;
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    private readonly EventCounters _counters;
    private readonly ILogger<EngineEvents> _logger;

    public EngineEvents(EventCounters counters, IOptions<EventOptions> options, ILogger<EngineEvents> logger)
    {
        _counters = counters;
        _logger = logger;
        Engines = [.. options.Value.Engines.Select(engine => new EngineNode(engine.Key, engine.Value, options.Value.MaxEngineBlocks))];
    }

    /// <summary>The engines, in the order of the configuration.</summary>
    public IReadOnlyList<EngineNode> Engines { get; }

    public Task RunAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(Engines.Select(engine => FollowAsync(engine, stoppingToken)));

    private async Task FollowAsync(EngineNode engine, CancellationToken cancellationToken)
    {
        var numbers = new BatchNumbers();
        var pause = FirstPause;
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                using var socket = await ConnectAsync(engine.Settings.Endpoint, cancellationToken);
                await SubscribeAsync(socket, engine.Settings.Topic, cancellationToken);
                LogConnected(engine.Name, engine.Settings.Endpoint);
                engine.IsConnected = true;
                pause = FirstPause;
                while (true)
                    Hear(engine, numbers, await ReceiveAsync(socket, cancellationToken));
            }
            catch (Exception e)
                when (!cancellationToken.IsCancellationRequested
                && e is IOException or SocketException or KvFormatException or OperationCanceledException)
            {
                if (engine.IsConnected)
                    LogLost(engine.Name, e.Message);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            engine.IsConnected = false;
            await Task.Delay(pause, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    private static async Task<ZmtpSocket> ConnectAsync(string endpoint, CancellationToken cancellationToken)
    {
        var address = SiloEndpoint.TryParse("tcp:" + endpoint)!.EndPoint;
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            deadline.CancelAfter(HandshakeTimeout);
            await socket.ConnectAsync(address, deadline.Token);
            return new ZmtpSocket(socket, MaxFrameBytes);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static async Task SubscribeAsync(ZmtpSocket socket, string topic, CancellationToken cancellationToken)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(HandshakeTimeout);
        await socket.HandshakeAsync("SUB", ["PUB", "XPUB"], isLetIn: null, deadline.Token);
        byte[] subscription = [1, .. Encoding.UTF8.GetBytes(topic)];
        await socket.SendAsync([subscription], deadline.Token);
    }

    private static async Task<List<byte[]>> ReceiveAsync(ZmtpSocket socket, CancellationToken cancellationToken)
    {
        var parts = new List<byte[]>(3);
        while (true)
        {
            var frame = await socket.ReceiveAsync(cancellationToken);
            if (frame.IsCommand)
                continue;
            parts.Add(frame.Body);
            if (!frame.HasMore)
                return parts;
            if (parts.Count >= MaxParts)
                throw new KvFormatException($"A message of KV events has three parts; more than {MaxParts} arrived.");
        }
    }

    private void Hear(EngineNode engine, BatchNumbers numbers, List<byte[]> parts)
    {
        if (parts.Count != 3 || parts[1].Length != sizeof(ulong))
        {
            LogNotUnderstood(engine.Name, $"a message has {parts.Count} parts; topic, number of 8 bytes and batch were expected");
            return;
        }

        var (missed, restarted) = numbers.Next(BinaryPrimitives.ReadUInt64BigEndian(parts[1]));
        if (restarted)
        {
            LogRestarted(engine.Name);
            engine.Blocks.Clear();
        }

        _counters.Missed(missed);
        try
        {
            var events = KvEventReader.Read(parts[2]);
            foreach (var change in events)
                engine.Blocks.Apply(change);
            _counters.Received(events.Count);
        }
        catch (KvFormatException e)
        {
            LogNotUnderstood(engine.Name, e.Message); // one batch that is not understood does not cost the others
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Listening to the KV events of engine {Engine} at {Endpoint}")]
    private partial void LogConnected(string engine, string endpoint);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Engine {Engine} cannot be heard for now: {Reason}")]
    private partial void LogLost(string engine, string reason);

    [LoggerMessage(
        Level = LogLevel.Information, Message = "Engine {Engine} counts its events anew: what was known of its GPU is forgotten")]
    private partial void LogRestarted(string engine);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A KV event message of engine {Engine} is not understood: {Reason}")]
    private partial void LogNotUnderstood(string engine, string reason);

    /// <summary>The numbers of an engine's batches, which ascend by one until it starts anew.</summary>
    private sealed class BatchNumbers
    {
        private ulong? _next;

        public (long Missed, bool Restarted) Next(ulong number)
        {
            var expected = _next;
            _next = number + 1;
            if (expected is not { } next)
                return (0, false);
            return number < next ? (0, true) : ((long)(number - next), false);
        }
    }
}
