using StackExchange.Redis;

namespace KvCache.Redis;

/// <content>How Redis is asked: whatever it or the network does is a reason, and no exception.</content>
public sealed partial class RedisKvCache
{
    private static async Task<IConnectionMultiplexer> ConnectAsync(string configuration)
    {
        var options = ConfigurationOptions.Parse(configuration);
        options.AbortOnConnectFail = false; // it goes on trying
        options.BacklogPolicy = BacklogPolicy.FailFast; // what cannot be asked now is a miss now
        options.ClientName ??= "kvcache";
        return await ConnectionMultiplexer.ConnectAsync(options).ConfigureAwait(false);
    }

    private async ValueTask<(T Result, MissReason Reason, string? Error)> AskAsync<T>(
        TimeSpan timeout, T none, Func<IDatabase, CancellationToken, Task<T>> ask, CancellationToken cancellationToken)
    {
        Check(cancellationToken);
        if (Interlocked.Exchange(ref _hasAsked, 1) == 0)
            timeout += _options.FirstCallTimeout;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            var connection = await _connecting.Value.WaitAsync(limit.Token).ConfigureAwait(false);
            if (_disposed && _ownsConnection)
                await connection.DisposeAsync().ConfigureAwait(false); // it was made behind the end of this cache
            return (await ask(connection.GetDatabase(), limit.Token).ConfigureAwait(false), MissReason.None, null);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested && !_disposed)
        {
            LastError = $"Redis at {_where} has not answered within {timeout.TotalMilliseconds:0} ms";
            return (none, MissReason.Deadline, LastError);
        }
        catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            (var reason, LastError) = CauseOf(e) switch
            {
                RedisTimeoutException => (
                    MissReason.Deadline, $"Redis at {_where} has not answered within the time limit of its connection"),
                RedisServerException refusal => (MissReason.Refused, $"Redis at {_where} has refused it: {refusal.Message}"),
                RedisCommandException refusal => (MissReason.Refused, $"Redis at {_where}: {refusal.Message}"),
                var cause => (MissReason.Unavailable, $"Redis at {_where}: {WithoutState(cause.Message)}"),
            };
            return (none, reason, LastError);
        }
    }

    // What goes through keys page by page wraps what happens.
    private static Exception CauseOf(Exception exception) =>
        exception is AggregateException { InnerException: { } inner } ? inner : exception;

    // Behind what has happened the library tells the key and the state of its connections and threads.
    private static string WithoutState(string message)
    {
        foreach (var end in (string[])["\n", ";", ", mc:", " is active/available to service this operation"])
            message = message.Split(end)[0];
        return message;
    }

    // Commands run together, and the first failure ends the call: what the others tell nobody hears.
    private static Task<T> Seen<T>(Task<T> commands)
    {
        _ = commands.ContinueWith(
            static late => late.Exception, CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return commands;
    }

    // A value of another kind is no block either.
    private static async Task<Lease<byte>?> OrNothingAsync(Task<Lease<byte>?> value, CancellationToken cancellationToken)
    {
        try
        {
            return await value.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (RedisServerException e) when (e.Message.StartsWith("WRONGTYPE", StringComparison.Ordinal))
        {
            return Lease<byte>.Empty;
        }
    }

    private static async Task DropAsync(IDatabase database, RedisKey key, CancellationToken cancellationToken)
    {
        try
        {
            await database.KeyDeleteAsync(key).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (CauseOf(e) is RedisException or RedisTimeoutException or RedisCommandException)
        {
            // It may only read: then the value stays, and is a miss again.
        }
    }
}
