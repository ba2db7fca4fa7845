using System.CommandLine.Parsing;
using System.Globalization;

namespace KvCache.Bench.Cli;

/// <summary>Comma-separated numbers of an option.</summary>
internal static class NumberList
{
    /// <summary>The numbers; those out of range become errors of the command line.</summary>
    public static IEnumerable<long> Parse(ArgumentResult result, long least, long most)
    {
        foreach (var word in result.Tokens.SelectMany(token => token.Value.Split(',')))
        {
            if (long.TryParse(word, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most)
                yield return number;
            else
                result.AddError($"'{word}' is not a number from {least:N0} to {most:N0}.");
        }
    }
}
