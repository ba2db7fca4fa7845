using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using KvCache.Silo.Connections;
using KvCache.Silo.Hosting;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Events;

/// <summary>
/// A PUB socket: whoever connects gets the messages whose first part begins with a topic that it has subscribed to. Nobody is waited for:
/// what does not fit in a subscriber's queue is dropped for it. Where subscribers prove to be tenants, each gets topics of its own tenant
/// only.
/// </summary>
internal sealed partial class ZmtpPublisher : IAsyncDisposable
{
    // A subscription is a topic and a byte.
    private const int MaxFrameBytes = 4096;
    private const int MaxTopics = 1024;

    // Small: a subscriber connects once.
    private const int MaxUnproven = 64, MaxUnprovenPerAddress = 16;
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(5), Look = TimeSpan.FromMilliseconds(250);

    private readonly int _maxSubscribers, _maxQueued;
    private readonly EventAccess _access;
    private readonly UnprovenConnections<Subscriber> _unproven = new(MaxUnproven, MaxUnprovenPerAddress);
    private readonly EventCounters _counters;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Subscriber> _subscribers = [];
    private readonly Socket _listener;
    private readonly Task _accepting;
    private readonly Timer _watch;

    /// <exception cref="IOException">The address cannot be listened on.</exception>
    public ZmtpPublisher(
        IPEndPoint address, int maxSubscribers, int maxQueued, EventAccess access, EventCounters counters, ILogger logger)
    {
        _access = access;
        _maxSubscribers = maxSubscribers;
        _maxQueued = maxQueued;
        _counters = counters;
        _logger = logger;
        _listener = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            _listener.Bind(address);
            _listener.Listen();
        }
        catch (SocketException e)
        {
            _listener.Dispose();
            throw new IOException(
                $"KV events cannot be published on {address}: {e.Message}. Choose a free address in {EventOptions.Section}:Publish.", e);
        }

        _accepting = AcceptAsync();
        _watch = new Timer(_ => EndClosed(), null, Look, Look);
    }

    /// <summary>Where it listens.</summary>
    public EndPoint Address => _listener.LocalEndPoint!;

    /// <summary>Hands a message to those who want it.</summary>
    public void Publish(byte[] topic, byte[] number, byte[] batch)
    {
        lock (_subscribers)
        {
            foreach (var subscriber in _subscribers)
            {
                if (!_access.IsClosed(subscriber.Tenant) && subscriber.Wants(topic)
                    && !subscriber.Queue.Writer.TryWrite([topic, number, batch]))
                    _counters.DroppedBatch();
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _watch.DisposeAsync();
        _listener.Dispose();
        await _accepting;
        Subscriber[] left;
        lock (_subscribers)
            left = [.. _subscribers];
        foreach (var subscriber in left)
            subscriber.Socket.Dispose();
        _stopping.Dispose();
    }

    // Whose tenant was disabled or deleted.
    private void EndClosed()
    {
        lock (_subscribers)
        {
            foreach (var subscriber in _subscribers)
            {
                if (_access.IsClosed(subscriber.Tenant))
                    subscriber.Socket.Dispose();
            }
        }
    }

    private async Task AcceptAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                var socket = await _listener.AcceptAsync(_stopping.Token);
                _ = ServeAsync(new Subscriber(new ZmtpSocket(socket, MaxFrameBytes), _maxQueued), socket.RemoteEndPoint as IPEndPoint);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException)
            {
                // out of file descriptors: wait for some to be closed
                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None);
            }
        }
    }

    private async Task ServeAsync(Subscriber subscriber, IPEndPoint? peer)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
        try
        {
            _unproven.Add(subscriber, peer?.Address)?.Socket.Dispose();
            using (var handshake = CancellationTokenSource.CreateLinkedTokenSource(ended.Token))
            {
                handshake.CancelAfter(HandshakeTimeout);
                await subscriber.Socket.HandshakeAsync(
                    "PUB", ["SUB", "XSUB"], _access.AsksProof ? async (name, secret) =>
                    {
                        subscriber.Tenant = await _access.ProveAsync(name, secret, peer?.Address, HandshakeTimeout / 2, handshake.Token);
                        return subscriber.Tenant is not null;
                    }
                : null, handshake.Token);
            }

            Admit(subscriber);
            var sending = SendAsync(subscriber, ended.Token);
            try
            {
                while (true)
                    subscriber.Hear(await subscriber.Socket.ReceiveAsync(ended.Token), MaxTopics);
            }
            finally
            {
                await ended.CancelAsync();
                await sending;
            }
        }
        catch (Exception e)
            when (e is IOException or SocketException or KvFormatException or OperationCanceledException or ObjectDisposedException)
        {
            if (!_stopping.IsCancellationRequested)
                LogEnded(peer?.ToString() ?? "somebody", e.Message);
        }
        finally
        {
            _unproven.Remove(subscriber);
            bool was;
            lock (_subscribers)
                was = _subscribers.Remove(subscriber);
            if (was)
                _counters.Unsubscribed();
            subscriber.Socket.Dispose();
        }
    }

    private void Admit(Subscriber subscriber)
    {
        _unproven.Remove(subscriber);
        lock (_subscribers)
        {
            if (_subscribers.Count >= _maxSubscribers
                || _subscribers.Count(other => other.Tenant == subscriber.Tenant) >= _access.SubscribersOf(
                    subscriber.Tenant, _maxSubscribers))
                throw new KvFormatException(
                    $"There are as many subscribers already as {EventOptions.Section}:MaxSubscribers ({_maxSubscribers}) and the tenant's "
                    + "part of it allow.");
            subscriber.Allowed = _access.TopicsOf(subscriber.Tenant);
            _subscribers.Add(subscriber);
        }

        _counters.Subscribed();
    }

    // A subscriber that cannot be written to is noticed where it is read from.
    private static async Task SendAsync(Subscriber subscriber, CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var message in subscriber.Queue.Reader.ReadAllAsync(cancellationToken))
                await subscriber.Socket.SendAsync(message, cancellationToken);
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            subscriber.Socket.Dispose();
        }
    }

    [LoggerMessage(
        Level = LogLevel.Information,
        EventName = BoundedLog.Strangers + "Subscriber",
        Message = "The subscriber {Peer} of KV events has left: {Reason}")]
    private partial void LogEnded(string peer, string reason);

    private sealed class Subscriber(ZmtpSocket socket, int maxQueued)
    {
        private readonly Lock _lock = new();
        private readonly List<byte[]> _topics = [];

        public ZmtpSocket Socket { get; } = socket;

        /// <summary>Who it has proved to be; null where no proof is asked for.</summary>
        public string? Tenant { get; set; }

        /// <summary>How every topic begins that it may hear.</summary>
        public byte[] Allowed { get; set; } = [];

        public Channel<ReadOnlyMemory<byte>[]> Queue { get; } =
            Channel.CreateBounded<ReadOnlyMemory<byte>[]>(new BoundedChannelOptions(maxQueued) { SingleReader = true });

        public bool Wants(ReadOnlySpan<byte> topic)
        {
            if (!topic.StartsWith(Allowed))
                return false;
            lock (_lock)
            {
                foreach (var wanted in _topics)
                {
                    if (topic.StartsWith(wanted))
                        return true;
                }

                return false;
            }
        }

        /// <summary>Takes notice of a subscription: a message of 1 or 0 and the topic, or from ZMTP 3.1 on a command.</summary>
        /// <exception cref="KvFormatException">There are too many.</exception>
        public void Hear(ZmtpFrame frame, int maxTopics)
        {
            ReadOnlySpan<byte> body = frame.Body;
            ReadOnlySpan<byte> subscribe = "\u0009SUBSCRIBE"u8, cancel = "\u0006CANCEL"u8;
            if (frame.IsCommand ? body.StartsWith(subscribe) : body.Length > 0 && body[0] == 1)
                Add(body[(frame.IsCommand ? subscribe.Length : 1)..].ToArray(), maxTopics);
            else if (frame.IsCommand ? body.StartsWith(cancel) : body.Length > 0 && body[0] == 0)
                Remove(body[(frame.IsCommand ? cancel.Length : 1)..].ToArray());
        }

        private void Add(byte[] topic, int maxTopics)
        {
            lock (_lock)
            {
                if (_topics.Count >= maxTopics)
                    throw new KvFormatException($"It has subscribed to {maxTopics} topics already, which is all that is allowed.");
                _topics.Add(topic);
            }
        }

        private void Remove(byte[] topic)
        {
            lock (_lock)
            {
                if (_topics.FindIndex(known => known.AsSpan().SequenceEqual(topic)) is var index and >= 0)
                    _topics.RemoveAt(index);
            }
        }
    }
}
