using KvCache.Client;
using Microsoft.Extensions.Logging;

namespace KvCache.InferenceNode.Caching;

/// <summary>Opens the cache that the command line describes: of silos, of this process, one over the other, or none.</summary>
internal sealed partial class NodeCache(ILoggerFactory loggers)
{
    /// <summary>Environment variable of the tenant's secret. Command lines are visible to every user of a machine.</summary>
    public const string SecretVariable = "KVCACHE_SECRET";

    // Small models on busy cores: a prefill takes longer than this, so that waiting costs less than a miss.
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(1);

    private readonly ILogger _logger = loggers.CreateLogger<NodeCache>();

    /// <summary>Opens the cache.</summary>
    /// <param name="endpoints">Data-plane addresses of silos; none for no silo.</param>
    /// <param name="tenant">Tenant of the silos.</param>
    /// <param name="l1">Size of the cache in this process, or null for none.</param>
    /// <param name="cancellationToken">Cancels connecting.</param>
    /// <exception cref="SiloException">A silo refused this node for its version, tenant or secret.</exception>
    /// <exception cref="IOException">The host has not the memory for the cache in this process.</exception>
    public async Task<IKvCache> OpenAsync(IReadOnlyList<string> endpoints, string tenant, ByteSize? l1, CancellationToken cancellationToken)
    {
        var far = endpoints.Count == 0 ? null : await ConnectAsync(endpoints, tenant, cancellationToken);
        try
        {
            var near = l1 is { } size ? new LocalKvCache(size) : null;
            return (near, far) switch
            {
                (null, null) => new NoCache(),
                (null, not null) => far,
                (not null, null) => near,
                (not null, not null) => new TieredKvCache(near, far),
            };
        }
        catch
        {
            await (far?.DisposeAsync() ?? default);
            throw;
        }
    }

    private async Task<KvCacheClient> ConnectAsync(IReadOnlyList<string> endpoints, string tenant, CancellationToken cancellationToken)
    {
        var options = new KvCacheClientOptions
        {
            Tenant = tenant,
            Secret = Environment.GetEnvironmentVariable(SecretVariable) ?? "",
            MatchTimeout = MatchTimeout,
        };
        foreach (var endpoint in endpoints)
            options.Endpoints.Add(endpoint);
        var client = new KvCacheClient(options, loggers);
        try
        {
            if (!await client.ConnectAsync(cancellationToken))
                LogUnreachable(string.Join(", ", endpoints));
            return client;
        }
        catch
        {
            await client.DisposeAsync();
            throw;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "No silo answers at {Endpoints}; prompts are computed in full until one does")]
    private partial void LogUnreachable(string endpoints);
}
