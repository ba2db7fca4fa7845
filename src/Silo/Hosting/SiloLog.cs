using KvCache.Silo.Cluster;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Hosting;

/// <summary>The silo's log: the console, bounded.</summary>
internal static class SiloLog
{
    public static void AddSiloLog(this ILoggingBuilder logging)
    {
        logging.ClearProviders().AddConsole();
        logging.Services.RemoveAll<ILoggerProvider>();
        logging.Services.AddSingleton<ILoggerProvider>(services => new BoundedLog(
            ActivatorUtilities.CreateInstance<ConsoleLoggerProvider>(services), TimeProvider.System));
        logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft.Orleans", LogLevel.Warning)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Warning)

            // Orleans tells with every new silo which part of its ring a grain service has
            .AddFilter(typeof(SiloAgent).FullName, LogLevel.Warning)
            .AddFilter("Polly", LogLevel.Warning); // Orleans' placement logs every new activation through it
    }
}
