using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Telemetry;
using Microsoft.AspNetCore.Http.HttpResults;
using Orleans;

namespace KvCache.Silo.Http;

/// <summary>Namespaces, look-ups, pins and statistics.</summary>
internal static class QueryEndpoints
{
    private const int GrainCallsAtOnce = 64;

    public static Ok<NamespaceReply> Register(NamespaceRequest request, HttpContext http, NamespaceTable namespaces)
    {
        var tenant = HttpGate.TenantOf(http);
        var ns = request.ToNamespace(tenant);
        if (ns.Tenant != tenant)
            throw new HttpProblemException(
                HttpProblem.Forbidden(
                "The namespace belongs to another tenant than the token. Leave 'tenant' out, or use that tenant's token."));
        namespaces.Register(ns);
        return TypedResults.Ok(NamespaceReply.Of(ns));
    }

    public static Ok<NamespaceReply> Describe(string ns, HttpContext http, NamespaceTable namespaces) =>
        TypedResults.Ok(NamespaceReply.Of(namespaces.Resolve(HttpGate.TenantOf(http), ns)));

    public static Ok<MatchReply> Match(
        MatchRequest request, HttpContext http, NamespaceTable namespaces, ClusterView cluster, SiloCounters counters)
    {
        var tenant = HttpGate.TenantOf(http);
        if (request.Namespaces.Length is 0 or > WireProtocol.MaxNamespacesPerMatch)
            throw new HttpProblemException(
                HttpProblem.Invalid(
                $"A match names 1 to {WireProtocol.MaxNamespacesPerMatch} namespaces; there are {request.Namespaces.Length}."));
        var ranks = Array.ConvertAll(request.Namespaces, text => namespaces.Resolve(tenant, text));
        var layout = ranks[0].Layout;
        if (Array.Exists(ranks, rank => rank.Layout.TokensPerBlock != layout.TokensPerBlock))
            throw new HttpProblemException(
                HttpProblem.Invalid("The namespaces of one match have different tokens per block; the ranks of one prompt were expected."));
        var hashes = request.ToHashes(layout);
        var found = hashes.Length;
        var holders = new ulong[found];
        foreach (var rank in ranks)
            found = cluster.Match(rank.Id, hashes.AsSpan(0, found), holders);
        counters.Matched(found, hashes.Length);
        if (request.Hint?.ToHint() is { } hint)
        {
            foreach (var rank in ranks)
                cluster.Hint(rank.Id, hashes.AsSpan(0, found), holders, hint, ends: false);
        }

        return TypedResults.Ok(new MatchReply(found, found * layout.TokensPerBlock, hashes.Length));
    }

    public static async Task<Ok<PinReply>> PinAsync(
        PinRequest request, HttpContext http, NamespaceTable namespaces, BlockServer server, CancellationToken cancellationToken)
    {
        var ns = namespaces.Resolve(HttpGate.TenantOf(http), request.Namespace);
        if (request.Seconds < 0)
            throw new HttpProblemException(
                HttpProblem.Invalid($"The pin is to last {request.Seconds} s; 0 (which ends it) or more was expected."));
        var pinned = 0;
        foreach (var part in HexText.Hashes(request.Hashes).Chunk(GrainCallsAtOnce))
            pinned += (await Task.WhenAll(Array.ConvertAll(part, PinAsync))).Count(outcome => outcome == ItemOutcome.Done);
        return TypedResults.Ok(new PinReply(pinned));

        Task<ItemOutcome> PinAsync(BlockHash hash) => server.CallGrainAsync(
            new BlockKey(ns.Id, hash), grain => grain.PinAsync(TimeSpan.FromSeconds(request.Seconds), cancellationToken));
    }

    public static async Task<Ok<ExpireReply>> ExpireAsync(
        ExpireRequest request, HttpContext http, NamespaceTable namespaces, IClusterBlocks cluster, CancellationToken cancellationToken)
    {
        var ns = namespaces.Resolve(HttpGate.TenantOf(http), request.Namespace);
        var keys = Array.ConvertAll(HexText.Hashes(request.Hashes), hash => new BlockKey(ns.Id, hash));
        var outcomes = await cluster.SetTimeToLiveAsync(keys, request.ToLife(), cancellationToken);
        return TypedResults.Ok(new ExpireReply(
            outcomes.Count(outcome => outcome == ItemOutcome.Done), outcomes.Count(outcome => outcome == ItemOutcome.Unconfirmed)));
    }

    public static Ok<HintReply> Hint(HintRequest request, HttpContext http, NamespaceTable namespaces, ClusterView cluster)
    {
        var ns = namespaces.Resolve(HttpGate.TenantOf(http), request.Namespace);
        var hashes = request.ToHashes(ns.Layout);
        return TypedResults.Ok(new HintReply(cluster.Hint(ns.Id, hashes, new ulong[hashes.Length], request.Hint.ToHint())));
    }

    public static FileContentHttpResult Statistics(HttpContext http, BlockServer server) =>
        TypedResults.Bytes(server.StatisticsJson(server.Store.Accounts.Of(HttpGate.TenantOf(http))), "application/json; charset=utf-8");
}
