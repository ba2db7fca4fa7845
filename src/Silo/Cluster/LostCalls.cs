using Orleans.Runtime;

namespace KvCache.Silo.Cluster;

/// <summary>Calls of grains and other silos that failed for what lies there.</summary>
internal static class LostCalls
{
    /// <summary>
    /// Whether a call was lost: the silo is gone, or does not answer. Orleans cancels what it was placing or looking up on a silo that has
    /// just died, so that a cancellation that the caller did not ask for says the same.
    /// </summary>
    /// <param name="exception">What the call threw.</param>
    /// <param name="cancellationToken">The caller's own.</param>
    public static bool IsLost(Exception exception, CancellationToken cancellationToken = default) =>
        exception is OrleansException or TimeoutException
        || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested);
}
