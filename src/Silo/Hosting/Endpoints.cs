using System.Text.Json.Serialization;
using KvCache.Engine.Storage;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Http;
using KvCache.Silo.Supervision;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;

namespace KvCache.Silo.Hosting;

/// <summary>Health over HTTP.</summary>
internal static class Endpoints
{
    /// <summary>
    /// <c>/healthz</c>: the process answers. <c>/readyz</c>: it serves, or 503; in JSON, with what is missing for whoever runs the silo,
    /// and whether it serves for anybody.
    /// </summary>
    public static void MapKvCacheHealth(this WebApplication app)
    {
        app.MapGet("/healthz", () => Results.Text("ok"));
        app.MapGet("/readyz",
            async (HttpContext http, Operators operators, BlockServer server, ArenaCommitter arena, ClusterMembers members, RedisScan scan,
            CutOffWatch cutOff, LoopHealth loops, IServiceProvider services) =>
        {
            var listening = server.Endpoints.Length > 0;
            var ready = listening && arena.Ready && cutOff.Problem is null && !app.Lifetime.ApplicationStopping.IsCancellationRequested;
            var status = ready ? 200 : 503;

            // A wrong token costs here what it costs elsewhere, or this were the place to guess.
            if (http.Request.Headers.Authorization.Count > 0
                ? await operators.RefuseAsync(http, OperatorRole.Scraper) is not null
                : operators.RoleOf(http) == OperatorRole.None)
                return Results.Json(new ReadyStatus(ready), ReadinessJsonContext.Default.ReadyStatus, statusCode: status);
            var readiness = new Readiness(
                ready,
                server.Endpoints,
                server.Store.Arena.CommittedBytes,
                server.Store.Arena.Capacity,
                arena.Percent,
                arena.Failure,
                members.Reachable,
                services.GetService<RedisTier>() is { } tier
                    ? new RedisReadiness(tier.IsAvailable, tier.LastError, scan.Done, scan.Found, scan.Expected)
                    : null,
                services.GetService<DiskTier>()?.GetStatus(),
                [.. cutOff.Problem is { } problem ? [problem] : (string[])[], .. loops.Problems]);
            return Results.Json(readiness, ReadinessJsonContext.Default.Readiness, statusCode: status);
        });
        app.MapGet("/admin/stats", (BlockStore store, SiloCounters counters, IServiceProvider services) =>
            TypedResults.Ok(SiloStatistics.Create(store, counters, services.GetService<DiskTier>())))
            .WithTags("admin").WithName("siloStatistics").WithSummary("Counters of this silo.").WithMetadata(new ForOperators());
        app.MapPost("/admin/leave", () =>
        {
            app.Lifetime.StopApplication();
            return TypedResults.Accepted((string?)null);
        })
            .WithTags("admin").WithName("leave").WithMetadata(new ForOperators())
            .WithSummary("Ends this silo: it gives its blocks to the silos that stay, and stops.");
        app.MapPrometheusScrapingEndpoint().WithMetadata(new ForOperators());
    }
}

/// <summary>Answer of <c>/readyz</c> to anybody.</summary>
/// <param name="Ready">Whether the silo serves.</param>
internal sealed record ReadyStatus(bool Ready);

/// <summary>Answer of <c>/readyz</c> to whoever runs the silo.</summary>
/// <param name="Ready">Whether the silo serves.</param>
/// <param name="Endpoints">Where the data plane listens.</param>
/// <param name="ArenaCommittedBytes">Usable block memory.</param>
/// <param name="ArenaBytes">Configured block memory.</param>
/// <param name="ArenaPercent">Usable block memory, in percent of what is configured.</param>
/// <param name="ArenaFailure">Why the arena is smaller than configured, or null.</param>
/// <param name="Peers">Other silos whose blocks are known and can be asked for.</param>
/// <param name="Redis">The tier behind the silos; null when there is none. The silo serves without it.</param>
/// <param name="Disk">The disk below the memory; null when there is none. The silo serves without it.</param>
/// <param name="Problems">What is wrong, each in a sentence: the silo is cut off, or a part of it failed and was begun again.</param>
internal sealed record Readiness(
    bool Ready, string[] Endpoints, long ArenaCommittedBytes, long ArenaBytes, int ArenaPercent, string? ArenaFailure, int Peers,
    RedisReadiness? Redis, DiskStatus? Disk, string[] Problems);

/// <summary>State of the Redis tier.</summary>
/// <param name="Available">Whether Redis has answered, as the master, the last time that it was asked; it is probed every two
/// seconds.</param>
/// <param name="LastError">The latest failure, whenever that was.</param>
/// <param name="Scanned">Whether everything that was in Redis when the silo started can be found.</param>
/// <param name="ScannedBlocks">Blocks found in Redis so far.</param>
/// <param name="DatabaseKeys">Keys that the database had when the scan began.</param>
internal sealed record RedisReadiness(bool Available, string? LastError, bool Scanned, long ScannedBlocks, long DatabaseKeys);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(Readiness))]
[JsonSerializable(typeof(ReadyStatus))]
internal sealed partial class ReadinessJsonContext : JsonSerializerContext;
