using System.Text.Json.Serialization;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Tiers;

namespace KvCache.Silo.Hosting;

/// <summary>Health over HTTP.</summary>
internal static class Endpoints
{
    /// <summary>
    /// <c>/healthz</c>: the process answers. <c>/readyz</c>: it serves, or 503 and what is missing. Both answer JSON.
    /// </summary>
    public static void MapKvCacheHealth(this WebApplication app)
    {
        app.MapGet("/healthz", () => Results.Text("ok"));
        app.MapGet("/readyz", (BlockServer server, ArenaCommitter arena, ClusterMembers members, RedisScan scan, IServiceProvider services) =>
        {
            var listening = server.Endpoints.Length > 0;
            var readiness = new Readiness(
                listening && arena.Ready && !app.Lifetime.ApplicationStopping.IsCancellationRequested,
                server.Endpoints,
                server.Store.Arena.CommittedBytes,
                server.Store.Arena.Capacity,
                arena.Failure,
                members.Reachable,
                services.GetService<RedisTier>() is { } tier ? new RedisReadiness(!tier.IsOpen, tier.LastError, scan.Done, scan.Found, scan.Expected) : null);
            return Results.Json(readiness, ReadinessJsonContext.Default.Readiness, statusCode: readiness.Ready ? 200 : 503);
        });
    }
}

/// <summary>Answer of <c>/readyz</c>.</summary>
/// <param name="Ready">Whether the silo serves.</param>
/// <param name="Endpoints">Where the data plane listens.</param>
/// <param name="ArenaCommittedBytes">Usable block memory.</param>
/// <param name="ArenaBytes">Configured block memory.</param>
/// <param name="ArenaFailure">Why the arena is smaller than configured, or null.</param>
/// <param name="Peers">Other silos whose blocks are known and can be asked for.</param>
/// <param name="Redis">The tier behind the silos; null when there is none. The silo serves without it.</param>
internal sealed record Readiness(bool Ready, string[] Endpoints, long ArenaCommittedBytes, long ArenaBytes, string? ArenaFailure, int Peers, RedisReadiness? Redis);

/// <summary>State of the Redis tier.</summary>
/// <param name="Available">False while Redis is left alone because it failed.</param>
/// <param name="LastError">The latest failure, whenever that was.</param>
/// <param name="Scanned">Whether everything that was in Redis when the silo started can be found.</param>
/// <param name="ScannedBlocks">Blocks found in Redis so far.</param>
/// <param name="DatabaseKeys">Keys that the database had when the scan began.</param>
internal sealed record RedisReadiness(bool Available, string? LastError, bool Scanned, long ScannedBlocks, long DatabaseKeys);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(Readiness))]
internal sealed partial class ReadinessJsonContext : JsonSerializerContext;
