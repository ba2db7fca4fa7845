using System.Text.Json.Serialization;
using KvCache.Storage;

namespace KvCache.Silo;

/// <summary>Health over HTTP.</summary>
internal static class Endpoints
{
    /// <summary>
    /// <c>/healthz</c>: the process answers. <c>/readyz</c>: it serves, or 503 and what is missing. Both answer JSON.
    /// </summary>
    public static void MapKvCacheHealth(this WebApplication app)
    {
        app.MapGet("/healthz", () => Results.Text("ok"));
        app.MapGet("/readyz", (BlockServer server, ArenaCommitter arena, ClusterMembers members) =>
        {
            var listening = server.Endpoints.Length > 0;
            var readiness = new Readiness(
                listening && arena.Ready && !app.Lifetime.ApplicationStopping.IsCancellationRequested,
                server.Endpoints,
                server.Store.Arena.CommittedBytes,
                server.Store.Arena.Capacity,
                arena.Failure,
                members.Reachable);
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
internal sealed record Readiness(bool Ready, string[] Endpoints, long ArenaCommittedBytes, long ArenaBytes, string? ArenaFailure, int Peers);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(Readiness))]
internal sealed partial class ReadinessJsonContext : JsonSerializerContext;
