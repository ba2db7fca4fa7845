namespace KvCache.Silo.Supervision;

/// <summary>Work of a silo that goes on until it stops.</summary>
internal interface ILoop
{
    /// <summary>Does it. An exception ends this run, and another one begins after a pause; a return ends the work for good.</summary>
    Task RunAsync(CancellationToken stoppingToken);
}
