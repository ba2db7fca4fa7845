using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Hosting;

/// <summary>
/// A log that what goes wrong again and again cannot fill: a warning or an error is told, and what is told a minute long in the same
/// place of the program is then one line with a count. An exception is one line too, but for errors of ours, and what every loss of a
/// neighbour brings with it is no error.
/// </summary>
/// <remarks>Lines that strangers can cause, at any level, have <see cref="Strangers"/> in front of the name of their event.</remarks>
internal sealed class BoundedLog : ILoggerProvider
{
    /// <summary>What the names of events begin with that whoever reaches the silo can make happen: bounded whatever their level
    /// is.</summary>
    public const string Strangers = "Strangers.";

    // What differs, the silo's name for example, is told a few times before it is counted.
    private const int LinesAMinute = 3, StrangersLinesAMinute = 10;

    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);

    private readonly ILoggerProvider _inner;
    private readonly ConcurrentDictionary<(string, int, LogLevel), Repetition> _repetitions = [];
    private readonly ITimer _timer;

    /// <param name="inner">Where lines go.</param>
    /// <param name="time">Clock.</param>
    public BoundedLog(ILoggerProvider inner, TimeProvider time)
    {
        _inner = inner;
        _timer = time.CreateTimer(_ => EndMinute(), null, Interval, Timeout.InfiniteTimeSpan);
    }

    public ILogger CreateLogger(string categoryName) => new Bounded(this, _inner.CreateLogger(categoryName), categoryName);

    public void Dispose()
    {
        _timer.Dispose();
        Sum();
        _inner.Dispose();
    }

    private void EndMinute()
    {
        Sum();
        _timer.Change(Interval, Timeout.InfiniteTimeSpan);
    }

    private void Sum()
    {
        foreach (var ((_, id, level), repetition) in _repetitions)
        {
            if (repetition.End() is var (count, last) && count > 0)
                Write(repetition.Log, level, id, string.Create(
                    CultureInfo.InvariantCulture, $"{count} more of the kind in the last minute; the latest: {last}"));
        }
    }

    private static void Write(ILogger log, LogLevel level, EventId id, string text) => log.Log(level, id, text, null, (line, _) => line);

    // Within one place of the program.
    private sealed class Repetition(ILogger log, int linesAMinute)
    {
        private readonly Lock _lock = new();
        private readonly HashSet<string> _told = [];
        private long _left;
        private string _last = "";

        public ILogger Log => log;

        public bool MayTell(string text)
        {
            lock (_lock)
            {
                if (_told.Count < linesAMinute && _told.Add(text))
                    return true;
                _left++;
                _last = text;
                return false;
            }
        }

        public (long Count, string Last) End()
        {
            lock (_lock)
            {
                var count = _left;
                _left = 0;
                _told.Clear();
                if (count > 0)
                    _told.Add(_last); // it goes on: the next one is counted again
                return (count, _last);
            }
        }
    }

    private sealed class Bounded(BoundedLog owner, ILogger inner, string category) : ILogger
    {
        private readonly bool _isOurs = category.StartsWith("KvCache.", StringComparison.Ordinal);

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => inner.BeginScope(state);

        public bool IsEnabled(LogLevel logLevel) => inner.IsEnabled(logLevel);

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var isOfStrangers = eventId.Name?.StartsWith(Strangers, StringComparison.Ordinal) == true;
            if (logLevel < LogLevel.Warning && !isOfStrangers)
            {
                inner.Log(logLevel, eventId, state, exception, formatter);
                return;
            }

            var text = formatter(state, exception);
            if (!_isOurs)
            {
                if (ForeignLines.IsDropped(category, eventId, text))
                    return;
                logLevel = ForeignLines.LevelOf(logLevel, eventId, exception);
            }

            // A stack is for errors, which are defects. What Orleans says of a call that failed quotes one too.
            var isShortened = !_isOurs
                || (exception is null ? text.Contains('\n', StringComparison.Ordinal) : logLevel == LogLevel.Warning);
            if (isShortened)
                text = ForeignLines.Shorten(text, exception);

            var lines = isOfStrangers ? StrangersLinesAMinute : LinesAMinute;
            var repetition = owner._repetitions.GetOrAdd((category, eventId.Id, logLevel), _ => new Repetition(inner, lines));
            if (!repetition.MayTell(text))
                return;
            if (isShortened)
                Write(inner, logLevel, eventId, text);
            else
                inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
