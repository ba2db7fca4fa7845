using System.ComponentModel;
using System.Text.Json.Serialization;
using KvCache.Engine.Storage;
using KvCache.Silo.Accounts;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>What an administrator wants a tenant to be; what is left out stays as it is.</summary>
internal sealed record TenantRequest
{
    public string? Secret { get; set; }

    /// <summary>A second secret that is valid too, while the first is exchanged.</summary>
    public string? OtherSecret { get; set; }

    public double? Share { get; set; }

    public double? MaxShare { get; set; }

    public double? PinShare { get; set; }

    public int? MaxConnections { get; set; }

    public bool? Disabled { get; set; }

    public TenantEntry ApplyTo(TenantEntry? old) => (old is null or { Deleted: true } ? new TenantEntry { Version = 0 } : old) is var entry
        ? entry with
        {
            Secret = Secret ?? entry.Secret,
            OtherSecret = OtherSecret ?? (Secret is null ? entry.OtherSecret : ""),
            SecretFile = Secret is null ? entry.SecretFile : "",
            Share = Share ?? entry.Share,
            MaxShare = MaxShare ?? entry.MaxShare,
            PinShare = PinShare ?? entry.PinShare,
            MaxConnections = MaxConnections ?? entry.MaxConnections,
            Disabled = Disabled ?? entry.Disabled,
        }
        : entry;
}

/// <summary>A tenant, without its secret.</summary>
internal sealed record TenantReply(
    string Name,
    [property: Description("active, disabled, deleting, or deleted: then nothing is left of it on any silo, nor in Redis.")] string State,
    double Share,
    double MaxShare,
    double? PinShare,
    int MaxConnections,
    [property: Description("What it has and has used on this silo.")] TenantStatistics Meter);

/// <summary><c>/admin/tenants</c>: tenants, live. Looking asks for a scraper's token, changing for the administrator's.</summary>
internal static class TenantEndpoints
{
    public const string Path = "/admin/tenants";

    public static void MapTenants(this WebApplication app, RequestSizeLimitAttribute json)
    {
        var admin = app.MapGroup(Path).WithTags("admin").WithMetadata(new ForOperators(), json).AddEndpointFilterFactory(KnownQuery.Check);
        admin.MapGet("/", (TenantDirectory tenants, TenantChanges changes, BlockStore store) =>
            TypedResults.Json(
                tenants.Tenants.Select(tenant => Describe(tenant.Key, tenant.Value, changes, store)).ToArray(),
                TenantJsonContext.Default.TenantReplyArray))
            .WithName("listTenants").WithSummary("All tenants.");
        admin.MapGet(
            "/{name}", (string name, TenantDirectory tenants, TenantChanges changes, BlockStore store) =>
            Reply(name, tenants, changes, store))
            .WithName("getTenant").WithSummary("A tenant.");
        admin.MapPut(
            "/{name}", (string name, TenantRequest request, HttpContext http, TenantDirectory tenants, TenantChanges changes,
            BlockStore store, AuditLog audit) =>
            Change(name, request.ApplyTo, request.Disabled == true ? "Disabling" : "Change", http, tenants, audit)
                ?? Reply(name, tenants, changes, store))
            .WithName("putTenant").WithSummary("Makes or changes a tenant, on every silo.");
        admin.MapDelete(
            "/{name}", (string name, HttpContext http, TenantDirectory tenants, TenantChanges changes, BlockStore store, AuditLog audit) =>
            tenants.Tenants.ContainsKey(name)
                ? Change(name, old => old! with { Deleted = true }, "Deletion", http, tenants, audit)
                    ?? Reply(name, tenants, changes, store)
                : Unknown(name))
            .WithName("deleteTenant")
                .WithSummary("Deletes a tenant and its blocks, on every silo and in Redis. The state says when it is done.");
    }

    private static ProblemHttpResult? Change(
        string name, Func<TenantEntry?, TenantEntry> change, string act, HttpContext http, TenantDirectory tenants, AuditLog audit)
    {
        if (tenants.Change(name, change) is { } problem)
            return HttpProblem.Invalid(problem).ToResult();
        var now = tenants.Tenants[name];
        audit.Changed(
            act, name, FormattableString.Invariant(
            $"share {now.Share}, at most {now.MaxShare}, connections {now.MaxConnections}, disabled {now.Disabled}"),
            http.Connection.RemoteIpAddress);
        return null;
    }

    private static IResult Reply(string name, TenantDirectory tenants, TenantChanges changes, BlockStore store) =>
        tenants.Tenants.TryGetValue(name, out var entry)
        ? TypedResults.Json(Describe(name, entry, changes, store), TenantJsonContext.Default.TenantReply)
        : Unknown(name);

    private static TenantReply Describe(string name, TenantEntry entry, TenantChanges changes, BlockStore store) => new(
        name,
        entry.Deleted ? (changes.IsCleared(name, entry) ? "deleted" : "deleting") : entry.Disabled ? "disabled" : "active",
        entry.Share,
        entry.MaxShare,
        entry.PinShare,
        entry.MaxConnections,
        store.GetStatistics(store.Accounts.Of(name)));

    private static ProblemHttpResult Unknown(string name) => new HttpProblem(
        StatusCodes.Status404NotFound, "tenant-unknown", "The tenant is not known.",
            $"There is no tenant '{HttpProblem.Shorten(name)}'. GET {Path} lists those that there are.").ToResult();
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(TenantRequest))]
[JsonSerializable(typeof(TenantReply))]
[JsonSerializable(typeof(TenantReply[]))]
internal sealed partial class TenantJsonContext : JsonSerializerContext;
