using System.ComponentModel;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using KvCache.Silo.Events;
using KvCache.Silo.Hosting;
using Microsoft.AspNetCore.Http.HttpResults;

namespace KvCache.Silo.Http;

/// <summary>Where is a prompt's KV?</summary>
internal sealed record LocateRequest : PromptRequest
{
    [Description("Id or encoding of the namespace.")]
    public required string Namespace { get; set; }

    [Description("Costs of a token from each tier, relative to computing it, 0 to 1.")]
    public RouteWeights? Weights { get; set; }
}

/// <summary>Where a prompt's KV is.</summary>
internal sealed record LocateReply(
    [property: Description("Tokens of the prompt.")] int Tokens,
    int TokensPerBlock,
    [property: Description("Tokens at the front of the prompt that some silo or Redis has.")] int Found,
    [property: Description("Tokens at the front of the prompt that Redis has.")] int Redis,
    [property: Description("Nodes for the request, best score first.")] NodeReply[] Nodes);

/// <summary>One node as a place for the prompt.</summary>
internal sealed record NodeReply(
    [property: Description("Name of the engine in the configuration, or the first address of a silo that has no engine.")] string Node,
    [property: Description("Whether its silo is the one that answers.")] bool Here,
    [property: Description("Data-plane addresses of its silo; empty for an engine without one.")] IReadOnlyList<string> Endpoints,
    [property: Description("Tokens at the front of the prompt in its GPU.")] int Gpu,
    [property: Description("Tokens at the front of the prompt in its silo's memory.")] int Memory,
    [property: Description("Where it would get each token from, the cheapest tier first.")] PlanReply Plan,
    [property: Description("Share of the prefill that is saved, 0 to 1.")] double Score);

/// <summary>Tokens by where they would come from.</summary>
internal sealed record PlanReply(int Gpu, int Memory, int Cluster, int Redis, int Compute);

/// <summary><c>/v1/locate</c>: for routers.</summary>
internal static class LocateEndpoint
{
    public static Ok<LocateReply> Locate(
        LocateRequest request, HttpContext http, NamespaceTable namespaces, ClusterView cluster, EngineEvents engines, BlockServer server)
    {
        var ns = namespaces.Resolve(HttpGate.TenantOf(http), request.Namespace);
        var weights = request.Weights ?? new RouteWeights();
        if (!weights.IsValid)
            throw new HttpProblemException(
                HttpProblem.Invalid("A weight lies outside of 0 to 1; the cost of a token relative to computing it was expected."));
        var size = ns.Layout.TokensPerBlock;
        var hashes = request.ToHashes(ns.Layout);
        var tokens = request.Tokens?.Length ?? hashes.Length * size;
        if (tokens == 0)
            throw new HttpProblemException(HttpProblem.Invalid("The prompt is empty; at least one token or hash was expected."));
        var holders = new ulong[hashes.Length];
        holders = holders[..cluster.Match(ns.Id, hashes, holders)];
        var heard = engines.Engines.Where(engine => engine.IsConnected && engine.Serves(ns)).ToList();
        var nodes = new List<NodeReply>();
        foreach (var silo in cluster.Silos(server.Endpoints))
        {
            var beside = heard.FindAll(engine => engine.IsBeside(silo.Endpoints));
            heard.RemoveAll(beside.Contains);
            if (beside.Count == 0)
                nodes.Add(Node(silo.Endpoints.Count > 0 ? silo.Endpoints[0] : "", silo, gpu: 0));
            nodes.AddRange(beside.Select(engine => Node(engine.Name, silo, GpuTokens(engine))));
        }

        nodes.AddRange(heard.Select(engine => Node(engine.Name, new SiloPlace(0, false, []), GpuTokens(engine))));
        return TypedResults.Ok(new LocateReply(
            tokens, size, holders.Length * size, RoutePlan.FrontTokens(size, holders, BlockRun.Redis),
                [.. nodes.OrderByDescending(node => node.Score)]));

        int GpuTokens(EngineNode engine) => request.Tokens is { } prompt ? engine.Blocks.FrontTokens(prompt, ns.LoraAdapter) : 0;

        NodeReply Node(string name, SiloPlace silo, int gpu)
        {
            var plan = RoutePlan.Create(tokens, size, holders, silo.Bit, gpu, weights);
            return new NodeReply(
                name, silo.IsHere, silo.Endpoints, gpu, RoutePlan.FrontTokens(size, holders, silo.Bit),
                    new PlanReply(plan.Gpu, plan.Memory, plan.Cluster, plan.Redis, plan.Compute), plan.Score);
        }
    }
}
