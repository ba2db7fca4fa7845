using System.Collections.Concurrent;
using System.Diagnostics;

namespace KvCache.Chaos.Checkers;

/// <summary>A normal failover is no error: silos log no line of an error and no stack, and not much at all.</summary>
internal sealed class LogChecker(Journal journal) : Checker(journal)
{
    public const string Name = "logs";

    /// <summary>Characters of a silo's log in one fault; a start takes about 4,000.</summary>
    public const int MostCharacters = 128 << 10;

    private readonly ConcurrentDictionary<int, int> _characters = new();
    private readonly ConcurrentDictionary<int, string> _heads = new();

    public override string Promise => Name;

    public override void Logged(int silo, string line)
    {
        var characters = _characters.AddOrUpdate(silo, line.Length, (_, sum) => sum + line.Length);
        if (characters > MostCharacters && characters - line.Length <= MostCharacters)
            Broken(Stopwatch.GetTimestamp(), $"Silo {silo} has logged more than {MostCharacters} characters in one fault.");

        // The first line of an entry names its level and its category, the second has the words.
        if (line.StartsWith("fail:", StringComparison.Ordinal) || line.StartsWith("crit:", StringComparison.Ordinal))
        {
            var category = line["fail:".Length..].TrimStart();
            if (!Journal.Current.Errors.Any(allowed => category.StartsWith(allowed, StringComparison.Ordinal)))
                _heads[silo] = line;
        }
        else if (_heads.TryRemove(silo, out var head))
            Broken(Stopwatch.GetTimestamp(), $"Silo {silo} logged an error: {head.Trim()} {line.Trim()}");
        else if (line.StartsWith("Unhandled", StringComparison.OrdinalIgnoreCase) || line.TrimStart().StartsWith("at ",
            StringComparison.Ordinal)
            && line.Contains('('))
            Broken(Stopwatch.GetTimestamp(), $"Silo {silo} logged a stack: {line.Trim()}");
    }

    public override void Ended(Phase phase) => _characters.Clear();
}
