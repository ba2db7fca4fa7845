using KvCache.Silo.Tiers.Persisting;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>One connection to Redis that is made when it is needed and made anew when it broke. Owned by one thread.</summary>
internal sealed class RedisLane(RedisEndpoint endpoint, int socketBuffer, TimeSpan connectTimeout, RedisHealth health) : IDisposable
{
    private volatile RedisConnection? _connection;
    private volatile bool _stopped;
    private int _server;

    /// <summary>Runs calls on the connection and reports to the circuit breaker how they went.</summary>
    /// <param name="deadline">Limit of the calls, connecting included.</param>
    /// <param name="calls">The calls; run a second time when an idle connection turns out to have been closed by Redis.</param>
    /// <exception cref="RedisException">Redis cannot be reached, failed or refused.</exception>
    public T Run<T>(Deadline deadline, Func<RedisConnection, T> calls)
    {
        while (true)
        {
            var reused = _connection is { IsUsable: true } && _server == health.Server;
            try
            {
                var result = calls(Open(deadline));
                health.Succeeded();
                return result;
            }
            catch (RedisException e) when (e.IsFull)
            {
                health.Succeeded();
                throw;
            }
            catch (RedisException e)
            {
                // Also after an error reply: a replica that was a master, or a Redis that loads, may be another machine by the next call.
                Drop();
                if (reused && e.Failure == RedisFailure.Broken && !deadline.Passed && !_stopped)
                    continue;
                health.Failed(e);
                throw;
            }
            catch
            {
                Drop();
                throw;
            }
        }
    }

    /// <summary>Ends the call that runs, and refuses later ones. From any thread.</summary>
    public void Stop()
    {
        _stopped = true;
        _connection?.Abort();
    }

    public void Dispose() => Drop();

    private RedisConnection Open(Deadline deadline)
    {
        // A server that turned out not to be the one that is wanted is that for every lane.
        if (_connection is { IsUsable: true } connection && _server == health.Server)
            return connection;
        Drop();
        if (_stopped)
            throw new RedisException(RedisFailure.Broken, "The tier is stopping.");
        _server = health.Server;
        _connection = connection = RedisConnection.Connect(endpoint, socketBuffer, deadline.OrSooner(Deadline.After(connectTimeout)));
        if (_stopped)
            connection.Abort();
        return connection;
    }

    private void Drop()
    {
        if (_connection is not { } connection)
            return;
        _connection = null;
        if (connection is { LeftWrite: true, Id: not 0 })
            health.Abandoned(new AbandonedWrite(connection.Name, connection.Id));
        connection.Dispose();
    }
}
