using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace KvCache.Orleans.Access;

/// <summary>
/// Fetches a new ticket at half of its life, through the ticket itself. Where that came too late, as after a pause of the process,
/// connections are made anew instead.
/// </summary>
internal sealed partial class TicketRenewal(TenantAccess access, IGrainFactory grains, ILogger<TicketRenewal> logger) : BackgroundService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        access.Secret.Refused = problem => LogSecretRefused(access.Tenant, problem);
        var grain = grains.GetGrain<ITicketGrain>(TenantId.Of(access.Tenant).ToString());
        while (!stoppingToken.IsCancellationRequested)
        {
            var wait = access.Fresh ?? Pause;
            await Task.Delay(wait > Pause ? wait : Pause, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (stoppingToken.IsCancellationRequested || access.Fresh is not { } fresh || fresh > TimeSpan.Zero)
                continue;
            try
            {
                var renewing = grain.RenewAsync(access.Tenant, access.ProveForRenewal()).AsTask();
                if (await renewing.WaitAsync(stoppingToken).ConfigureAwait(false) is { } ticket)
                    access.Take(ticket.Bytes, ticket.Life);
                else
                    LogNotRenewed(access.Tenant, "its secret is no longer valid");
            }
            catch (Exception e) when (!stoppingToken.IsCancellationRequested)
            {
                LogNotRenewed(access.Tenant, e.Message);
            }

            if (access.IsOver)
                access.Reconnect();
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The ticket of tenant {Tenant} was not renewed: {Reason}")]
    private partial void LogNotRenewed(string tenant, string reason);

    [LoggerMessage(
        Level = LogLevel.Error, Message = "The changed file of tenant {Tenant}'s secret is refused, and the old secret stays: {Problem}")]
    private partial void LogSecretRefused(string tenant, string problem);
}
