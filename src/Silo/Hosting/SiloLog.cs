using KvCache.Silo.Cluster;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Hosting;

/// <summary>What a silo's log says of the parts that are not ours.</summary>
internal static class SiloLog
{
    public static void AddSiloLog(this ILoggingBuilder logging) =>
        logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft.Orleans", LogLevel.Warning)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Warning)
            .AddFilter("Orleans.Connections.Security", LogLevel.Error) // a stack for each handshake that fails

            // Orleans tells with every new silo which part of its ring a grain service has
            .AddFilter(typeof(SiloAgent).FullName, LogLevel.Warning)

            // A refused call is one bounded line of the guard. Orleans adds one with a stack for each, which a client can have as often as
            // it likes.
            .AddFilter("Orleans.Messaging", LogLevel.Critical).AddFilter("Orleans.Grain.InvokeException", LogLevel.None)

            // A call that is given up while the silo stops is one that nobody waits for; Orleans tells it with a stack.
            .AddFilter("Orleans.Runtime.GrainCallCancellationManager", LogLevel.Critical)
            .AddFilter("Polly", LogLevel.Warning) // Orleans' placement logs every new activation through it
            .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None); // what fails at start is told in a sentence
}
