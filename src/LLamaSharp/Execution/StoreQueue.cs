using System.Threading.Channels;
using KvCache.LLamaSharp.States;
using Microsoft.Extensions.Logging;

namespace KvCache.LLamaSharp.Execution;

/// <summary>Sends blocks to the cache behind the answers, in the order in which they were computed.</summary>
internal sealed partial class StoreQueue : IAsyncDisposable
{
    private readonly Channel<Work> _work = Channel.CreateUnbounded<Work>(new UnboundedChannelOptions { SingleReader = true });
    private readonly CancellationTokenSource _ended = new();
    private readonly long _maxBytes;
    private readonly ILogger _logger;
    private readonly Task _sending;
    private long _bytes;

    public StoreQueue(long maxBytes, ILogger logger)
    {
        (_maxBytes, _logger) = (maxBytes, logger);
        _sending = Task.Run(SendAsync);
    }

    /// <summary>Whether so many bytes more may wait.</summary>
    public bool HasRoom(long bytes) => Interlocked.Read(ref _bytes) + bytes <= _maxBytes;

    /// <summary>Takes blocks over, and disposes them when they are sent.</summary>
    /// <param name="blocks">The blocks.</param>
    /// <param name="bytes">Their bytes.</param>
    /// <param name="options">How they are stored.</param>
    /// <param name="onNotSent">Called where the cache could not be reached.</param>
    public void Add(ExportedBlocks blocks, long bytes, StoreOptions options, Action onNotSent)
    {
        Interlocked.Add(ref _bytes, bytes);
        if (_work.Writer.TryWrite(new Work(blocks, bytes, options, onNotSent, null)))
            return;
        Interlocked.Add(ref _bytes, -bytes);
        blocks.Dispose();
    }

    /// <summary>Waits until everything is sent, or given up, that was added before.</summary>
    public Task FlushAsync(CancellationToken cancellationToken)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return _work.Writer.TryWrite(new Work(null, 0, null, null, done)) ? done.Task.WaitAsync(cancellationToken) : _sending;
    }

    /// <summary>Gives up what is not sent yet; <see cref="FlushAsync"/> first where it is wanted.</summary>
    public async ValueTask DisposeAsync()
    {
        _work.Writer.TryComplete();
        await _ended.CancelAsync().ConfigureAwait(false);
        await _sending.ConfigureAwait(false);
        _ended.Dispose();
    }

    private async Task SendAsync()
    {
        await foreach (var work in _work.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            work.Done?.SetResult();
            if (work.Blocks is not { } blocks)
                continue;
            try
            {
                var result = await blocks.SendAsync(work.Options, _ended.Token).ConfigureAwait(false);
                if (result.Reason != MissReason.None)
                    work.OnNotSent?.Invoke();
                if (result.Reason != MissReason.None || result.Refused > 0)
                    LogNotStored(blocks.Blocks.Count - result.Stored - result.AlreadyStored, result.Reason, result.FirstRefusal);
            }
            catch (OperationCanceledException)
            {
                // Disposed: what is left is given back.
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                work.OnNotSent?.Invoke();
                LogFailed(e); // a cache that breaks its own rules must not end the queue
            }
            finally
            {
                blocks.Dispose();
                Interlocked.Add(ref _bytes, -work.Bytes);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "{Blocks} blocks were not stored: {Reason}, {Outcome}")]
    private partial void LogNotStored(int blocks, MissReason reason, PutOutcome? outcome);

    [LoggerMessage(Level = LogLevel.Error, Message = "The cache failed a store")]
    private partial void LogFailed(Exception exception);

    private sealed record Work(ExportedBlocks? Blocks, long Bytes, StoreOptions? Options, Action? OnNotSent, TaskCompletionSource? Done);
}
