using System.Buffers;
using System.Diagnostics;
using System.IO.Compression;
using System.Text.Json;
using System.Threading.Channels;
using KvCache.Caching;

namespace KvCache.Engine.Recording;

/// <summary>What a recording may take.</summary>
internal sealed record RecordingLimits
{
    /// <summary>How long it lasts.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Compressed bytes after which it ends.</summary>
    public long Bytes { get; init; } = 256L << 20;

    /// <summary>Most different blocks.</summary>
    public int Blocks { get; init; } = 4_000_000;

    /// <summary>Time that a request is waited for before it is written: its put, and how its answer ended.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMinutes(2);
}

/// <summary>Why a recording ended, and what it has.</summary>
/// <param name="Requests">Requests that were written.</param>
/// <param name="Lost">Parts of requests that came faster than they were written, and were left out.</param>
/// <param name="Bytes">Compressed bytes.</param>
/// <param name="Reason">Why it ended.</param>
internal sealed record RecordingResult(long Requests, long Lost, long Bytes, string Reason);

/// <summary>
/// A recording of a store's load in the format of the traces: a JSON object a line, compressed by gzip. It has what a simulation needs,
/// equal numbers for equal blocks, times, sizes and hints, and nothing else: no tokens, no hashes, no names.
/// </summary>
internal sealed class RequestRecording
{
    private const int MostWaiting = 8192; // parts

    private readonly Channel<RecordedPart> _parts = Channel.CreateBounded<RecordedPart>(
        new BoundedChannelOptions(MostWaiting) { SingleReader = true });

    private readonly RecordingLimits _limits;
    private readonly RecordedChains _chains;
    private long _lost;
    private long _origin = long.MinValue;

    public RequestRecording(RecordingLimits limits)
    {
        _limits = limits;
        _chains = new RecordedChains(limits.Blocks);
    }

    /// <summary>Parts that are not written yet.</summary>
    public int Waiting => _parts.Reader.Count;

    /// <summary>A request was seen, or something of it is known now. Never waits: under the store's lock nobody may.</summary>
    public void Add(in RecordedPart part)
    {
        if (_parts.Writer.TryWrite(part))
            return;
        part.Return();
        Interlocked.Increment(ref _lost);
    }

    /// <summary>Takes no more parts; what has come is written.</summary>
    public void Stop() => _parts.Writer.TryComplete();

    /// <summary>Writes what comes, until a limit is reached or it is stopped.</summary>
    /// <param name="output">Receives the compressed lines.</param>
    /// <param name="cancellationToken">Ends it; what has come is written.</param>
    /// <exception cref="IOException">The output takes no more.</exception>
    public async Task<RecordingResult> WriteAsync(Stream output, CancellationToken cancellationToken)
    {
        var counted = new CountingStream(output);
        var zip = new GZipStream(counted, CompressionLevel.Fastest, leaveOpen: true);
        var (requests, reason, isFull) = (0L, "it was stopped", false);
        var line = new ArrayBufferWriter<byte>(4096);
        var began = Stopwatch.GetTimestamp();
        long now = 0;
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        end.CancelAfter(_limits.Duration);
        try
        {
            while (await _parts.Reader.WaitToReadAsync(end.Token).ConfigureAwait(false))
            {
                while (_parts.Reader.TryRead(out var part))
                {
                    now = Take(part);
                    await WriteBeforeAsync(now - (long)_limits.Patience.TotalMilliseconds).ConfigureAwait(false);
                    isFull = counted.Bytes >= _limits.Bytes || _chains.IsFull;
                    if (isFull)
                        break;
                }

                if (!isFull)
                    continue;
                reason = _chains.IsFull ? $"it has {_limits.Blocks} different blocks" : $"it has {counted.Bytes} bytes";
                break;
            }
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            if (Stopwatch.GetElapsedTime(began) >= _limits.Duration)
                reason = "its time is over";
        }

        Stop();
        while (_parts.Reader.TryRead(out var part))
        {
            if (isFull)
                part.Return();
            else
                Take(part);
        }

        await WriteBeforeAsync(long.MaxValue).ConfigureAwait(false);
        await zip.DisposeAsync().ConfigureAwait(false);
        await output.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        return new RecordingResult(requests, Interlocked.Read(ref _lost), counted.Bytes, reason);

        async ValueTask WriteBeforeAsync(long time)
        {
            while (_chains.TakeBefore(time) is { } request)
            {
                line.ResetWrittenCount();
                Write(line, request);
                await zip.WriteAsync(line.WrittenMemory, CancellationToken.None).ConfigureAwait(false);
                requests++;
            }
        }
    }

    private long Take(in RecordedPart part)
    {
        if (_origin == long.MinValue)
            _origin = part.Now;
        _chains.Add(part);
        part.Return();
        return part.Now;
    }

    private void Write(ArrayBufferWriter<byte> line, RecordedRequest request)
    {
        using (var json = new Utf8JsonWriter(line))
        {
            json.WriteStartObject();
            json.WriteNumber("timestamp", request.Began - _origin);
            json.WriteNumber("input_length", (long)request.Blocks.Count * request.TokensPerBlock);
            json.WriteNumber("output_length", 0); // a store does not hear of it
            json.WriteNumber("block_tokens", request.TokensPerBlock);
            json.WriteStartArray("hash_ids");
            foreach (var id in request.Blocks)
                json.WriteNumberValue(id);
            json.WriteEndArray();
            if (HintNames.Of(request.Hint.End) is { } end)
                json.WriteString("end", end);
            if (request.Hint.Priority is { } priority)
                json.WriteNumber("priority", priority);
            if (request.Hint.Retention is { } retention)
                json.WriteNumber("retention", retention.TotalSeconds);
            if (HintNames.Of(request.Hint.Kind) is { } kind)
                json.WriteString("kind", kind);
            json.WriteEndObject();
        }

        line.Write("\n"u8);
    }
}
