using System.Runtime.CompilerServices;

namespace KvCache.SimulationTests.Engine;

/// <summary>What happened in a schedule, in words; kept only when a failing schedule is run again.</summary>
internal sealed class Trace(bool kept)
{
    private readonly List<string> _lines = [];

    public bool Kept => kept;

    public IReadOnlyList<string> Lines => _lines;

    public void Add([InterpolatedStringHandlerArgument("")] ref TraceLine line)
    {
        if (kept)
            _lines.Add(line.ToStringAndClear());
    }

    /// <summary>Formats only what is kept: a schedule is over in less time than its trace takes to write.</summary>
    [InterpolatedStringHandler]
    internal ref struct TraceLine
    {
        private DefaultInterpolatedStringHandler _inner;

        public TraceLine(int literalLength, int formattedCount, Trace trace, out bool enabled)
        {
            enabled = trace.Kept;
            _inner = enabled ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string value) => _inner.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _inner.AppendFormatted(value);

        public void AppendFormatted<T>(T value, string? format) => _inner.AppendFormatted(value, format);

        public string ToStringAndClear() => _inner.ToStringAndClear();
    }
}
