using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Hosting;

/// <summary>What whoever starts a silo is told when it does not start: one sentence, whoever failed.</summary>
internal static class StartFailure
{
    /// <summary>Exit code of a silo that cannot start.</summary>
    public const int ExitCode = 2;

    public static string Explain(Exception exception) => OneLine.Of(exception switch
    {
        AggregateException { InnerExceptions: [var only] } => Explain(only),
        InvalidDataException => $"{exception.Message} {exception.GetBaseException().Message}",
        InvalidOperationException { InnerException: FormatException or ArgumentException } =>
            $"{exception.Message} {exception.InnerException.Message}",
        SocketException => $"An address cannot be listened on: {exception.Message}.",
        OptionsValidationException or IOException or UnauthorizedAccessException or FormatException => exception.Message,
        OperationCanceledException => "The start was cancelled.",
        OutOfMemoryException => "The process has no memory or no thread left. Look at its limits (cgroup, ulimit -u, ulimit -v).",
        TypeInitializationException { InnerException: { } cause } => Explain(cause),
        _ => Join(exception),
    });

    // Of a part that is not ours: its own words, and those of what caused it. Logging at Debug has the stack.
    private static string Join(Exception exception) => exception.GetBaseException() is var cause && cause != exception
        ? $"{exception.Message} ({cause.GetType().Name}: {cause.Message})"
        : $"{exception.Message} ({exception.GetType().Name})";
}
