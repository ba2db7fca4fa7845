using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace KvCache.Silo.Hosting;

/// <summary>Log lines of parts that are not ours, and of ours that quote them.</summary>
internal static class ForeignLines
{
    // "Hosting failed to start": the program says why, in a sentence.
    private const int StartFailed = 11;

    // A silo that starts has not reached members that are in the list; StartWatch says so.
    private const int NoPing = 100661;

    // Its stack is of no use to whoever runs a silo, and dozens of lines long.
    private const int LongestText = 400;

    /// <summary>Whether a line says nothing that is true and new.</summary>
    public static bool IsDropped(string category, EventId id, string text) =>
        (category == "Microsoft.Extensions.Hosting.Internal.Host" && id.Id == StartFailed)

        // Orleans measures its first check from a time of 0.
        || (category == "Orleans.Runtime.Watchdog"
            && text.StartsWith("Participant check thread has not completed", StringComparison.Ordinal));

    /// <summary>A neighbour that is away, a call that was given up and one that was refused are no errors of this silo.</summary>
    public static LogLevel LevelOf(LogLevel level, EventId id, Exception? exception)
    {
        if (level != LogLevel.Error)
            return level;
        return id.Id == NoPing || (exception is not null && (IsUsual(exception) || IsUsual(exception.GetBaseException())))
            ? LogLevel.Warning
            : level;
    }

    /// <summary>The text, and what caused it, in one line and without the stack that either may quote.</summary>
    public static string Shorten(string text, Exception? exception)
    {
        var cause = exception?.GetBaseException();
        var line = WithoutStack(text);
        if (cause is not null)
            line = $"{line} ({cause.GetType().Name}: {WithoutStack(cause.Message)})";
        return line.Length <= LongestText ? line : line[..LongestText] + "…";
    }

    private static string WithoutStack(string text) => OneLine.Of(string.Join('\n', text.Split('\n').Where(line =>
        line.TrimStart() is var rest && !rest.StartsWith("at ", StringComparison.Ordinal)
            && !rest.StartsWith("--- End of", StringComparison.Ordinal))));

    private static bool IsUsual(Exception exception) => exception is SiloUnavailableException or OrleansMessageRejectionException
        or TimeoutException or OperationCanceledException or SocketException or ConnectionResetException or ConnectionAbortedException
        or UnauthorizedAccessException or KvCache.Silo.Tiers.Redis.RedisException or StackExchange.Redis.RedisException
        || exception.GetType().FullName is "Orleans.Runtime.Messaging.ConnectionFailedException"
            or "Orleans.Runtime.OrleansLifecycleCanceledException" // it was asked to end while it started
            or "Orleans.Networking.Shared.SocketConnectionException"
                or "Orleans.Runtime.GrainDirectory.LocalGrainDirectoryPartitionException";
}
