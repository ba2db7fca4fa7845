using System.Diagnostics.CodeAnalysis;

namespace KvCache.Silo.Resp;

/// <summary>What stands behind the value of a SET.</summary>
internal readonly record struct SetOptions
{
    /// <summary>NX.</summary>
    public bool OnlyIfAbsent { get; init; }

    /// <summary>XX.</summary>
    public bool OnlyIfPresent { get; init; }

    /// <summary>GET: the answer is the old value.</summary>
    public bool Get { get; init; }

    /// <summary>KEEPTTL.</summary>
    public bool KeepTimeToLive { get; init; }

    /// <summary>EX, PX, EXAT or PXAT; zero or less when that time has passed.</summary>
    public TimeSpan? TimeToLive { get; init; }

    /// <summary>Whether there are no options.</summary>
    public bool IsPlain => this == default;

    /// <summary>Parses options.</summary>
    /// <param name="arguments">Arguments of the request.</param>
    /// <param name="first">Index of the first option.</param>
    /// <param name="now">The time, for EXAT and PXAT.</param>
    /// <param name="options">The options.</param>
    /// <param name="error">The reply, where they are wrong.</param>
    /// <param name="command">Name of the command, for it.</param>
    public static bool TryParse(
        RespArguments arguments, int first, DateTimeOffset now, out SetOptions options, [NotNullWhen(false)] out string? error,
        string command = "set")
    {
        options = default;
        var (time, timeAt) = (default((long Ticks, bool IsDate)?), 0);
        for (var i = first; i < arguments.Count; i++)
        {
            if (arguments.Is(i, "NX"u8) && !options.OnlyIfPresent)
                options = options with { OnlyIfAbsent = true };
            else if (arguments.Is(i, "XX"u8) && !options.OnlyIfAbsent)
                options = options with { OnlyIfPresent = true };
            else if (arguments.Is(i, "GET"u8))
                options = options with { Get = true };
            else if (arguments.Is(i, "KEEPTTL"u8) && time is null)
                options = options with { KeepTimeToLive = true };
            else if (Unit(arguments, i) is { } unit && i + 1 < arguments.Count && (time is null || time == unit) && !options.KeepTimeToLive)
                (time, timeAt) = (unit, ++i);
            else
                return Fail("ERR syntax error", out error);
        }

        if (time is { } given)
        {
            if (!arguments.TryInteger(timeAt, out var number))
                return Fail("ERR value is not an integer or out of range", out error);
            if (number <= 0 || number > (long.MaxValue - now.UtcTicks) / given.Ticks)
                return Fail($"ERR invalid expire time in '{command}' command", out error);
            options = options with
            {
                TimeToLive = TimeSpan.FromTicks(number * given.Ticks) - (given.IsDate ? now - DateTimeOffset.UnixEpoch : TimeSpan.Zero)
            };
        }

        error = null;
        return true;

        static bool Fail(string reply, out string error)
        {
            error = reply;
            return false;
        }
    }

    private static (long Ticks, bool IsDate)? Unit(RespArguments arguments, int index) =>
        arguments.Is(index, "EX"u8) ? (TimeSpan.TicksPerSecond, false)
        : arguments.Is(index, "PX"u8) ? (TimeSpan.TicksPerMillisecond, false)
        : arguments.Is(index, "EXAT"u8) ? (TimeSpan.TicksPerSecond, true)
        : arguments.Is(index, "PXAT"u8) ? (TimeSpan.TicksPerMillisecond, true)
        : null;
}
