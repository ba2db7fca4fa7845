using System.Collections.Concurrent;
using KvCache.Engine.Security;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Redis;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Tiers.Persisting;

/// <summary>
/// A thread with a connection for everything that is small: deletions, changes of lives, look-ups, and the probes of an open circuit
/// breaker.
/// It never waits behind a payload.
/// </summary>
internal sealed partial class RedisControl(
    PersistQueue queue, RedisLane lane, RedisHealth health, RedisKeySpace names, LiveFile<PayloadKeys>? keys, RedisTierOptions options,
    RedisTierCounters counters, TimeProvider time, ILogger logger)
{
    private const int DeletesPerCommand = 256;
    private const int LivesPerCommand = 64;

    private static readonly TimeSpan SampleInterval = TimeSpan.FromSeconds(10);

    // So long a Redis that has frozen, or is not the master any more, is taken for available when nothing is asked of it.
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Unwell = TimeSpan.FromMilliseconds(50);

    private readonly object _gate = new();
    private readonly ConcurrentQueue<Question> _questions = [];
    private readonly List<BlockKey> _keys = [];
    private readonly List<LifeChange> _lives = [];
    private Deadline _nextSample, _nextLook;
    private bool _awake;
    private volatile bool _stopped;

    /// <summary>Says that there is work.</summary>
    public void Wake()
    {
        lock (_gate)
        {
            _awake = true;
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>Asks whether Redis has a payload.</summary>
    /// <returns>Null when Redis does not answer.</returns>
    public Task<bool?> ExistsAsync(BlockKey key) => AskAsync(new Question((connection, deadline) => Exists(connection, key, deadline)));

    /// <summary>Makes a descriptor live as long as its payload.</summary>
    /// <returns>Null when Redis does not answer.</returns>
    public Task<bool?> AlignDescriptorAsync(BlockKey key) =>
        AskAsync(new Question((connection, deadline) => connection.AlignDescriptor(key, names, deadline)));

    /// <summary>Runs until stopped.</summary>
    public void Run()
    {
        while (!_stopped)
        {
            Sleep(health.IsOpen || _keys.Count > 0 || _lives.Count > 0 ? Unwell : Idle);
            try
            {
                if (health.IsOpen)
                    Probe();
                else
                    Work();
            }
            catch (RedisException)
            {
                // Reported to the breaker by the lane; what waits is tried again.
                Answer(static _ => null);
            }
            catch (Exception e)
            {
                LogFailed(e);
            }
        }

        Answer(static _ => null);
    }

    /// <summary>Ends <see cref="Run"/> soon.</summary>
    public void Stop()
    {
        _stopped = true;
        Wake();
    }

    private void Sleep(TimeSpan limit)
    {
        lock (_gate)
        {
            if (!_awake)
                Monitor.Wait(_gate, limit);
            _awake = false;
        }
    }

    private void Probe()
    {
        Answer(static _ => null);
        if (!health.MayProbe())
            return;
        var deadline = Deadline.After(options.CommandTimeout);
        lane.Run(deadline, connection =>
        {
            connection.CheckRole(deadline);
            health.KillAbandoned(connection, deadline);
            return true;
        });
        Work();
    }

    private void Work()
    {
        var deadline = Deadline.After(options.CommandTimeout);
        if (!_questions.IsEmpty)
            Answer(question => lane.Run(deadline, connection => question.Ask(connection, deadline)));
        do
        {
            _keys.Clear();
            _lives.Clear();
            queue.PeekDeletes(_keys, DeletesPerCommand);
            queue.PeekLives(_lives, LivesPerCommand);
            if (_keys.Count > 0)
                Delete(Deadline.After(options.CommandTimeout));
            if (_lives.Count > 0)
                ChangeLives(Deadline.After(options.CommandTimeout));
        }
        while (_keys.Count + _lives.Count > 0 && !_stopped);
        if (_nextSample.Passed)
            Sample(Deadline.After(options.CommandTimeout));
        else if (_nextLook.Passed)
            Look(Deadline.After(options.CommandTimeout));
    }

    private void Look(Deadline deadline)
    {
        _nextLook = Deadline.After(Idle);
        lane.Run(deadline, connection =>
        {
            connection.CheckRole(deadline);
            return true;
        });
    }

    private void Sample(Deadline deadline)
    {
        _nextSample = Deadline.After(SampleInterval);
        lane.Run(deadline, connection =>
        {
            var (used, limit) = connection.Memory(deadline);
            counters.Memory(used, limit);
            return true;
        });
    }

    private void Delete(Deadline deadline)
    {
        lane.Run(deadline, connection =>
        {
            health.KillAbandoned(connection, deadline);
            return connection.Unlink(_keys, names, deadline);
        });
        queue.FinishDeletes(_keys);
    }

    private void ChangeLives(Deadline deadline)
    {
        bool[]? applied = null;
        try
        {
            applied = lane.Run(deadline, connection => connection.SetLives(
                _lives, names, time.GetUtcNow().ToUnixTimeMilliseconds(), keys?.Fresh().Writing, deadline));
        }
        catch (RedisException e) when (e.WouldBeSaidAgain)
        {
            LogLivesRefused(e.Message);
        }

        for (var i = 0; i < _lives.Count; i++)
            queue.FinishLife(_lives[i], i < applied?.Length ? applied[i] : null);
    }

    private bool Exists(RedisConnection connection, BlockKey key, Deadline deadline)
    {
        Span<byte> name = stackalloc byte[names.KeyBytes];
        names.Write(key, name);
        return connection.Exists(name, deadline);
    }

    private Task<bool?> AskAsync(Question question)
    {
        _questions.Enqueue(question);
        if (_stopped)
            Answer(static _ => null);
        else
            Wake();
        return question.Answer.Task;
    }

    private void Answer(Func<Question, bool?> answer)
    {
        while (_questions.TryDequeue(out var question))
        {
            try
            {
                question.Answer.TrySetResult(answer(question));
            }
            finally
            {
                question.Answer.TrySetResult(null);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Redis does not let lives of blocks be changed: {Reason}")]
    private partial void LogLivesRefused(string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "The control connection to Redis failed")]
    private partial void LogFailed(Exception exception);

    private sealed record Question(Func<RedisConnection, Deadline, bool> Ask)
    {
        public TaskCompletionSource<bool?> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
