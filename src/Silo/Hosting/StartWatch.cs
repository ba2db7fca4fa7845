using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace KvCache.Silo.Hosting;

/// <summary>Says for whom a silo waits that does not get ready: it joins when every member answers, or has been declared dead.</summary>
internal static partial class StartWatch
{
    private static readonly TimeSpan First = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);

    /// <summary>Runs until the start is over.</summary>
    public static async Task RunAsync(IServiceProvider services, CancellationToken started)
    {
        var logger = services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(StartWatch).FullName!);
        var local = services.GetRequiredService<ILocalSiloDetails>();
        var members = services.GetRequiredService<IClusterMembershipService>();
        for (var pause = First; ; pause = Interval)
        {
            await Task.Delay(pause, started).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (started.IsCancellationRequested)
                return;
            var others = members.CurrentSnapshot.Members.Values
                .Where(member => member.Status == SiloStatus.Active && !member.SiloAddress.Equals(local.SiloAddress))
                .Select(member => member.SiloAddress.ToString()).ToArray();
            if (others.Length > 0)
                LogWaits(logger, string.Join(", ", others));
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Not ready yet: the list of members has {Silos}, and this silo joins when each of them answers or has been declared "
            + "dead, "
        + "which takes about 10 s of silence")]
    private static partial void LogWaits(ILogger logger, string silos);
}
