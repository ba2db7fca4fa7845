using System.Buffers.Binary;
using System.Net;
using KvCache.Engine.Events;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Events;

/// <summary>
/// Tells subscribers what becomes visible and what goes on this silo, from the log that other silos follow too. The log is the queue: it is
/// bounded, appending never waits, and when this reader has fallen behind it, subscribers hear that everything is gone and then what is
/// there.
/// </summary>
internal sealed partial class KvEventPublisher(
    BlockDirectory directory, BlockStore store, TimeProvider time, EventCounters counters, EventAccess access, LoopHealth loops,
    IOptions<EventOptions> options, ILogger<KvEventPublisher> logger)
    : BackgroundService
{
    private const int MaxEventsPerBatch = 256;

    private const int MaxNamespacesOfTenant = 16_384;

    private readonly IndexDelta[] _deltas = new IndexDelta[1024];
    private readonly EventTopics _topics = new(options.Value.Topic, MaxNamespacesOfTenant);
    private readonly KvEventWriter _writer = new(options.Value.Format, options.Value.IntegerHashes);
    private ZmtpPublisher? _publisher;

    /// <summary>Where it listens, or null.</summary>
    public EndPoint? Address => _publisher?.Address;

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (options.Value.Publish.Length == 0)
            return Task.CompletedTask;
        _publisher = new ZmtpPublisher(
            IPEndPoint.Parse(options.Value.Publish), options.Value.MaxSubscribers, options.Value.MaxQueuedBatches, access, counters,
            logger);
        LogListening(_publisher.Address.ToString()!);
        return base.StartAsync(cancellationToken);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (_publisher is not null)
            await _publisher.DisposeAsync();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        loops.KeepRunningAsync(nameof(KvEventPublisher), FollowAsync, stoppingToken);

    private async Task FollowAsync(CancellationToken stoppingToken)
    {
        var log = directory.Log;
        ulong next = 0;
        while (!stoppingToken.IsCancellationRequested)
        {
            await log.WaitAsync(next, stoppingToken);
            var count = log.Read(next, _deltas, out var first);
            if (count == IndexLog.Gap)
            {
                counters.Lost((long)(first - next));
                next = log.Next; // read before the first block of the copy, as the log wants it
                TellEverything();
                continue;
            }

            Tell(_deltas.AsSpan(0, count));
            next += (ulong)count;
        }
    }

    private void Tell(ReadOnlySpan<IndexDelta> deltas)
    {
        var batch = default(NamespaceId);
        foreach (ref readonly var delta in deltas)
        {
            if (delta.Key.Namespace != batch || _writer.Count >= MaxEventsPerBatch)
                Send(batch);
            batch = delta.Key.Namespace;
            switch (delta.Operation)
            {
                case IndexOperation.Added: Stored(delta.Key, KvEvent.Memory); break;
                case IndexOperation.Removed: _writer.Removed(delta.Key.Hash, KvEvent.Memory); break;
                case IndexOperation.Persisted: Stored(delta.Key, KvEvent.Redis); break;
                case IndexOperation.Unpersisted: _writer.Removed(delta.Key.Hash, KvEvent.Redis); break;
            }
        }

        Send(batch);
    }

    private void TellEverything()
    {
        foreach (var ns in _topics.Namespaces)
        {
            _writer.Cleared();
            Send(ns);
        }

        var keys = new List<BlockKey>();
        Tell(BlockDirectory.Self, KvEvent.Memory);
        Tell(PrefixIndex.RedisHolder, KvEvent.Redis);

        void Tell(int holder, string medium)
        {
            for (var cursor = 0; directory.Index.ReadKeys(holder, ref cursor, keys); keys.Clear())
            {
                foreach (var group in keys.GroupBy(key => key.Namespace))
                {
                    foreach (var key in group)
                    {
                        Stored(key, medium);
                        if (_writer.Count >= MaxEventsPerBatch)
                            Send(group.Key);
                    }

                    Send(group.Key);
                }
            }
        }
    }

    // A block that has gone meanwhile has nothing to be described by; that it is gone comes next.
    private void Stored(BlockKey key, string medium)
    {
        if (store.DescribePlace(key) is { } place)
            _writer.Stored(key.Hash, place.Parent, place.TokensPerBlock, medium);
    }

    private void Send(NamespaceId ns)
    {
        if (_writer.Count == 0)
            return;
        var events = _writer.Count;
        var batch = _writer.Take(time.GetUtcNow());
        if (_topics.Of(ns) is not { } topic)
        {
            counters.Lost(events);
            return;
        }

        var number = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(number, topic.Next++);
        _publisher!.Publish(topic.Name, number, batch);
        counters.Published(events);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "KV events are published on {Address}")]
    private partial void LogListening(string address);
}
