using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>A broken promise.</summary>
/// <param name="Promise">Which.</param>
/// <param name="Seconds">When, from the beginning of the run.</param>
/// <param name="Fault">During which fault.</param>
/// <param name="Sentence">How.</param>
internal sealed record Breach(string Promise, double Seconds, string Fault, string Sentence);

/// <summary>Where everything that is observed arrives: it is counted for the fault of the moment, and shown to every checker.</summary>
internal sealed class Journal
{
    private const int MostBreaches = 200;

    private readonly long _began = Stopwatch.GetTimestamp();
    private readonly List<Phase> _phases = [];
    private readonly List<Breach> _breaches = [];
    private readonly Lock _lock = new();
    private volatile Phase _current;

    public Journal()
    {
        _current = new Phase("none", _began);
        _phases.Add(_current);
        Checkers =
        [
            new ContentChecker(this), new DeletionChecker(this), new LifeChecker(this), new StalenessChecker(this),
            new AvailabilityChecker(this), new ExceptionChecker(this), new BudgetChecker(this), new LogChecker(this),
        ];
    }

    public IReadOnlyList<Checker> Checkers { get; }

    /// <summary>Hears of each breach as it happens.</summary>
    public event Action<Breach>? Told;

    public Phase Current => _current;

    public IReadOnlyList<Phase> Phases
    {
        get
        {
            lock (_lock)
                return [.. _phases];
        }
    }

    /// <summary>The first breaches; <see cref="Phase.Broken"/> counts all.</summary>
    public IReadOnlyList<Breach> Breaches
    {
        get
        {
            lock (_lock)
                return [.. _breaches];
        }
    }

    /// <summary>Ends the phase of the moment and begins another.</summary>
    public Phase Begin(Phase next)
    {
        foreach (var checker in Checkers)
            checker.Ended(_current);
        lock (_lock)
            _phases.Add(next);
        return _current = next;
    }

    /// <summary>What was going on at a time.</summary>
    public Phase PhaseAt(long time)
    {
        if (time >= _current.Began)
            return _current;
        lock (_lock)
            return _phases.FindLast(phase => phase.Began <= time) ?? _phases[0];
    }

    public void Read(in BlockRead read)
    {
        PhaseAt(read.Began).Read();
        foreach (var checker in Checkers)
            checker.Read(in read);
    }

    public void Called(in CacheCall call)
    {
        PhaseAt(call.Began).Called(in call);
        foreach (var checker in Checkers)
            checker.Called(in call);
    }

    public void Sampled(in SiloSample sample)
    {
        foreach (var checker in Checkers)
            checker.Sampled(in sample);
    }

    public void Logged(int silo, string line)
    {
        foreach (var checker in Checkers)
            checker.Logged(silo, line);
    }

    /// <summary>A promise is broken.</summary>
    public void Break(string promise, long at, string sentence)
    {
        var phase = PhaseAt(at);
        phase.Break(promise);
        var breach = new Breach(promise, Stopwatch.GetElapsedTime(_began, at).TotalSeconds, phase.Name, sentence);
        lock (_lock)
        {
            if (_breaches.Count >= MostBreaches)
                return;
            _breaches.Add(breach);
        }

        Told?.Invoke(breach);
    }
}
