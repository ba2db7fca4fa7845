using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO.Pipelines;

namespace KvCache.Silo.Security;

/// <summary>
/// The calls of a client's connection that were not answered yet. Orleans keeps answers for whoever does not read them, without a bound;
/// so only so many calls run at a time, the next ones wait in the socket, and who does not take an answer for long is ended.
/// </summary>
/// <param name="patience">Time in which the client takes an answer.</param>
internal sealed class ClientAnswers(TimeSpan patience) : IDisposable
{
    /// <summary>Calls of a connection that run at a time.</summary>
    public const int MostRunning = 64;

    // Orleans gives up a call without an answer to the silo's side: its place is free again by then.
    private static readonly TimeSpan Forgotten = TimeSpan.FromMinutes(1);

    private readonly ConcurrentDictionary<long, long> _running = new();
    private readonly SemaphoreSlim _free = new(MostRunning);

    /// <summary>How long a client may take for an answer that lies in its way.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(20);

    /// <summary>A call begins, as soon as there is room for it.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="cancellationToken">The connection has ended.</param>
    /// <returns>False when a call of this number runs.</returns>
    public async ValueTask<bool> TryBeginAsync(long number, CancellationToken cancellationToken)
    {
        while (!await _free.WaitAsync(TimeSpan.FromSeconds(1), cancellationToken))
            Forget();
        if (_running.TryAdd(number, Stopwatch.GetTimestamp()))
            return true;
        _free.Release();
        return false;
    }

    /// <summary>Passes the silo's preamble and messages on to the client.</summary>
    /// <returns>What is wrong with the client; null when nothing is.</returns>
    public async Task<string?> PassAsync(PipeReader from, PipeWriter to)
    {
        var front = new byte[ClientMessages.FramingBytes + ClientMessages.FrontBytes];
        var bytes = sizeof(int);
        for (var isPreamble = true; ; isPreamble = false)
        {
            var read = await from.ReadAtLeastAsync(isPreamble ? sizeof(int) : front.Length);
            if (read.Buffer.Length < (isPreamble ? sizeof(int) : front.Length))
                return null;
            read.Buffer.Slice(0, Math.Min(front.Length, read.Buffer.Length)).CopyTo(front);
            from.AdvanceTo(read.Buffer.Start);
            bytes = BinaryPrimitives.ReadInt32LittleEndian(front)
                + (isPreamble ? sizeof(int) : ClientMessages.FramingBytes + BinaryPrimitives.ReadInt32LittleEndian(front.AsSpan(sizeof(int))));
            read = await from.ReadAtLeastAsync(bytes);
            if (read.Buffer.Length < bytes)
                return null;
            foreach (var piece in read.Buffer.Slice(0, bytes))
                to.Write(piece.Span);
            from.AdvanceTo(read.Buffer.GetPosition(bytes));
            using var limit = new CancellationTokenSource(patience);
            try
            {
                if ((await to.FlushAsync(limit.Token)).IsCompleted)
                    return null;
            }
            catch (OperationCanceledException)
            {
                return "it does not take its answers";
            }

            if (!isPreamble && ClientMessages.IsAnswer(front.AsSpan(ClientMessages.FramingBytes)))
                End(ClientMessages.IdOf(front.AsSpan(ClientMessages.FramingBytes)));
        }
    }

    public void Dispose() => _free.Dispose();

    private void Forget()
    {
        foreach (var (number, since) in _running)
        {
            if (Stopwatch.GetElapsedTime(since) > Forgotten)
                End(number);
        }
    }

    private void End(long number)
    {
        if (_running.TryRemove(number, out _))
            _free.Release();
    }
}
