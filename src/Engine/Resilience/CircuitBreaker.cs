namespace KvCache.Engine.Resilience;

/// <summary>
/// Keeps calls away from a server that failed several times in a row. While it is open, calls are misses at once; after a
/// delay one call may try, and its success closes the breaker. The delay doubles with every failed try, up to 30 s.
/// </summary>
/// <remarks>All members are thread-safe.</remarks>
internal sealed class CircuitBreaker
{
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    private readonly Lock _lock = new();
    private readonly int _failures;
    private readonly TimeSpan _firstDelay;
    private readonly TimeSpan _longestDelay;
    private readonly TimeProvider _time;
    private int _inARow;
    private TimeSpan _delay;
    private long _openedAt;
    private bool _open;
    private bool _trying;

    /// <summary>Creates a closed breaker.</summary>
    /// <param name="failures">Failures in a row that open it.</param>
    /// <param name="delay">Time from opening to the first try.</param>
    /// <param name="time">Clock.</param>
    /// <param name="longestDelay">Longest time between two tries. Default 30 s.</param>
    public CircuitBreaker(int failures, TimeSpan delay, TimeProvider time, TimeSpan? longestDelay = null)
    {
        _longestDelay = longestDelay ?? LongestDelay;
        _failures = failures;
        _firstDelay = _delay = delay;
        _time = time;
    }

    /// <summary>Whether calls are kept away.</summary>
    public bool IsOpen
    {
        get
        {
            lock (_lock)
                return _open;
        }
    }

    /// <summary>Whether a call may go to the server. A call that may must report <see cref="Succeeded"/> or <see cref="Failed"/>.</summary>
    public bool TryEnter()
    {
        lock (_lock)
        {
            if (!_open)
                return true;
            if (_trying || _time.GetElapsedTime(_openedAt) < _delay)
                return false;
            return _trying = true;
        }
    }

    /// <summary>The server answered: closes the breaker.</summary>
    public void Succeeded()
    {
        lock (_lock)
        {
            _open = _trying = false;
            _inARow = 0;
            _delay = _firstDelay;
        }
    }

    /// <summary>Counts a failure. Returns true when it opened the breaker.</summary>
    public bool Failed()
    {
        lock (_lock)
        {
            _inARow++;
            if (_open)
            {
                if (_trying)
                {
                    _delay = _delay * 2 < _longestDelay ? _delay * 2 : _longestDelay;
                    _openedAt = _time.GetTimestamp();
                    _trying = false;
                }

                return false;
            }

            if (_inARow < _failures)
                return false;
            _openedAt = _time.GetTimestamp();
            return _open = true;
        }
    }

    /// <summary>A call that was let in ended without telling anything about the server (its caller cancelled it).</summary>
    public void Left()
    {
        lock (_lock)
            _trying = false;
    }
}
