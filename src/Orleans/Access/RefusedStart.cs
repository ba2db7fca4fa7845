using Orleans.Runtime;
using Orleans.Runtime.Messaging;

namespace KvCache.Orleans.Access;

/// <summary>Ends the start of a client that is refused, with the reason; tries again while gateways are merely not there.</summary>
internal sealed class RefusedStart(TenantAccess access) : IClientConnectionRetryFilter
{
    private const int Attempts = 15;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);
    private int _attempts;

    public async Task<bool> ShouldRetryConnectionAttempt(Exception exception, CancellationToken cancellationToken)
    {
        if (access.Refusal is { } refusal)
            throw new UnauthorizedAccessException(refusal, exception);
        if (exception is not (OrleansMessageRejectionException or ConnectionFailedException or SiloUnavailableException)
            || ++_attempts > Attempts)
            return false;
        await Task.Delay(Pause * _attempts, cancellationToken).ConfigureAwait(false);
        return true;
    }
}
