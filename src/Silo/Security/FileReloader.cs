using KvCache.Engine.Security;
using KvCache.Silo.Options;
using KvCache.Silo.Supervision;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Security;

/// <summary>Looks at the files of certificates, secrets and keys, and takes over what has changed. What cannot be used changes nothing, and
/// is told once.</summary>
internal sealed partial class FileReloader(IEnumerable<ILiveFiles> owners, IOptions<ReloadOptions> options, ILogger<FileReloader> logger)
    : ILoop
{
    public async Task RunAsync(CancellationToken stoppingToken)
    {
        var all = owners.SelectMany(owner => owner.Files).ToArray();
        if (all.Length == 0)
            return;
        using var timer = new PeriodicTimer(options.Value.Interval);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                foreach (var file in all)
                    Look(file);
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private void Look(ILiveFile file)
    {
        try
        {
            if (!file.Refresh(out var problem))
                return;
            if (problem is null)
                LogReloaded(file.Name);
            else
                LogRefused(problem);
        }
        catch (Exception e)
        {
            LogFailed(e, file.Name); // the others are still to be looked at
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Setting} was read again")]
    private partial void LogReloaded(string setting);

    [LoggerMessage(Level = LogLevel.Error, Message = "A changed file is refused, and nothing changes: {Problem}")]
    private partial void LogRefused(string problem);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Setting} could not be looked at")]
    private partial void LogFailed(Exception exception, string setting);
}
